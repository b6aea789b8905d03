//! The caller's side of a connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use seams::Seams;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::transport::channel::ResponseFuture;

use super::heard;

/// Writes into a call's metadata what the callee should know, such as the caller's place in a
/// trace.
pub type Stamp = fn(&mut http::HeaderMap);

/// Carries calls to one service. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Outgoing {
    channel: Channel,
    stamp: Option<Stamp>,
    seams: Seams,
}

impl Outgoing {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            stamp: None,
            seams: Seams::default(),
        }
    }

    /// Stamps every call.
    #[must_use]
    pub fn stamped(self, stamp: Stamp) -> Self {
        Self {
            stamp: Some(stamp),
            ..self
        }
    }

    /// Passes every call through `seams`.
    #[must_use]
    pub fn through(self, seams: Seams) -> Self {
        Self { seams, ..self }
    }
}

impl Service<http::Request<Body>> for Outgoing {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Calling;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Calling {
        if let Some(stamp) = self.stamp {
            stamp(request.headers_mut());
        }
        if !self.seams.are_heard() {
            return Calling::Free(self.channel.call(request));
        }
        // The channel that is ready is the one that is called.
        let fresh = self.channel.clone();
        let channel = std::mem::replace(&mut self.channel, fresh);
        Calling::Heard(Box::pin(heard::call(self.seams.clone(), channel, request)))
    }
}

/// A call under way.
pub enum Calling {
    /// As it is.
    Free(ResponseFuture),
    /// In the hands of who listens.
    Heard(BoxFuture<'static, Result<http::Response<Body>, tonic::transport::Error>>),
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calling")
    }
}

impl Future for Calling {
    type Output = Result<http::Response<Body>, tonic::transport::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Free(calling) => Pin::new(calling).poll(cx),
            Self::Heard(calling) => calling.as_mut().poll(cx),
        }
    }
}
