//! The caller's side of a connection.

use std::task::{Context, Poll};

use seams::{Seam, Seams};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::transport::channel::ResponseFuture;

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
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> ResponseFuture {
        if let Some(stamp) = self.stamp {
            stamp(request.headers_mut());
        }
        self.seams.pass(Seam::Service, request.uri().path());
        self.channel.call(request)
    }
}
