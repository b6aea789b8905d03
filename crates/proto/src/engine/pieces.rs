//! Bodies that are sent on while they come.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};

use crate::body;
use crate::v1::{BodyChunk, body_chunk};

/// Why bytes could not be had.
pub type Unloaded = Box<dyn Error + Send + Sync>;

/// The bytes of a body as they come, in pieces of at most a few megabytes.
pub struct Pieces(BoxStream<'static, Result<Bytes, Unloaded>>);

impl Pieces {
    /// Pieces that are still coming.
    pub fn of<E: Error + Send + Sync + 'static>(
        pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self {
        let unloaded = |error: E| -> Unloaded { Box::new(error) };
        Self(pieces.map(move |piece| piece.map_err(unloaded)).boxed())
    }

    /// The messages that carry them after `header`, and what becomes known if they break off. A call
    /// takes no errors, so the messages end there.
    pub(super) fn sent(self, header: BodyChunk) -> (Messages, Broken) {
        let broken = Broken::default();
        let messages = Messages {
            header: Some(header),
            pieces: self,
            broken: broken.clone(),
        };
        (messages, broken)
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self(stream::iter(body::chunks(bytes).map(Ok)).boxed())
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces")
    }
}

/// The first error among pieces.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<Unloaded>>>);

impl Broken {
    pub(super) fn told(&self) -> Option<Unloaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A body's header, then its pieces.
pub(super) struct Messages {
    header: Option<BodyChunk>,
    pieces: Pieces,
    broken: Broken,
}

impl Stream for Messages {
    type Item = BodyChunk;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<BodyChunk>> {
        if let Some(header) = self.header.take() {
            return Poll::Ready(Some(header));
        }
        match self.pieces.0.poll_next_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(data))) => Poll::Ready(Some(body_chunk::Part::Data(data).into())),
            Poll::Ready(Some(Err(error))) => {
                let mut told = self.broken.0.lock().unwrap_or_else(PoisonError::into_inner);
                *told = Some(error);
                Poll::Ready(None)
            }
        }
    }
}
