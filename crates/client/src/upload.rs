//! A file on its way up, in pieces.

use std::future::pending;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use proto::body::CHUNK_BYTES;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tonic::Status;

use crate::{Client, ClientError};

/// A file that is open for reading.
#[derive(Debug)]
pub(crate) struct Upload {
    file: File,
    path: PathBuf,
}

/// Tells when the file of an upload cannot be read to its end.
#[derive(Debug)]
pub(crate) struct Reading(Option<oneshot::Receiver<ClientError>>);

impl Upload {
    pub(crate) async fn open(path: &Path) -> Result<Self, ClientError> {
        let file = File::open(path)
            .await
            .map_err(|source| ClientError::file("read", path, source))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// `first`, then the file in messages of at most [`CHUNK_BYTES`].
    ///
    /// When reading fails the messages do not end, since the other side would take an end for the
    /// file's; [`Reading`] tells, and dropping the call tells the other side.
    pub(crate) fn messages<M: Send + 'static>(
        self,
        first: M,
        message: fn(Bytes) -> M,
    ) -> (impl Stream<Item = M> + Send + 'static, Reading) {
        let (failed, reading) = oneshot::channel();
        let pieces = stream::unfold((self, failed), move |(mut upload, failed)| async move {
            match upload.next_piece().await {
                Ok(piece) if piece.is_empty() => None,
                Ok(piece) => Some((message(piece), (upload, failed))),
                Err(error) => {
                    // Nobody listens when the call was given up already.
                    let _unheard = failed.send(error);
                    pending().await
                }
            }
        });
        let messages = stream::iter([first]).chain(pieces);
        (messages, Reading(Some(reading)))
    }

    async fn next_piece(&mut self) -> Result<Bytes, ClientError> {
        let mut piece = BytesMut::with_capacity(CHUNK_BYTES);
        let mut file = (&mut self.file).take(CHUNK_BYTES as u64);
        while piece.len() < CHUNK_BYTES {
            let read = file.read_buf(&mut piece).await;
            if read.map_err(|source| ClientError::file("read", &self.path, source))? == 0 {
                break;
            }
        }
        Ok(piece.freeze())
    }
}

impl Reading {
    /// What `call` answers, unless the file cannot be read.
    pub(crate) async fn and<T>(
        &mut self,
        client: &Client,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        tokio::select! {
            biased;
            error = self.failure() => Err(error),
            answer = call => answer.map_err(|status| client.failed(&status)),
        }
    }

    /// Waits for a failure, forever when the file was read to its end.
    async fn failure(&mut self) -> ClientError {
        if let Some(reading) = &mut self.0
            && let Ok(error) = reading.await
        {
            return error;
        }
        self.0 = None;
        pending().await
    }
}
