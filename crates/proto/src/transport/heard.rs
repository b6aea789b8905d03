//! Calls to other services, as those hear them who listen at the seams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use federation::digest::{Digest, Digester};
use http_body::Frame;
use seams::{Passage, Seam, Seams};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};
use tonic::transport::{Channel, Error};

/// Calls when that has come to pass. What is sent is heard of when all of it is.
pub(super) async fn call(
    seams: Seams,
    mut channel: Channel,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    let passage = seams.pass(Seam::Service, &path, &()).await;
    if passage == Passage::Refused {
        return Ok(away(
            "the call was refused, as who listens at this seam would have it",
        ));
    }
    let request = request.map(|body| {
        Body::new(Sent {
            body,
            path,
            digester: Some(Digester::default()),
            seams,
        })
    });
    let answer = channel.call(request).await?;
    if passage == Passage::AnswerLost {
        return Ok(away(
            "the answer was lost, as who listens at this seam would have it",
        ));
    }
    Ok(answer)
}

fn away(message: &str) -> http::Response<Body> {
    Status::unavailable(message).into_http()
}

/// What is sent in a call.
struct Sent {
    body: Body,
    path: String,
    // None once it was told of.
    digester: Option<Digester>,
    seams: Seams,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match (&frame, &mut this.digester) {
            (Some(Ok(frame)), Some(digester)) => {
                if let Some(bytes) = frame.data_ref() {
                    digester.update(bytes);
                }
            }
            (None, digester) => {
                if let Some(digester) = digester.take() {
                    let digest: Digest = digester.finish();
                    this.seams.sent(Seam::Service, &this.path, &digest);
                }
            }
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.digester.is_none() && self.body.is_end_stream()
    }
}
