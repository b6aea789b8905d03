//! What stands before the services of a server: counts every call to the end of its answer, and
//! does its work in a span.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use prometheus::Error;
use tower::Service;

use super::call::Call;
use super::methods::Methods;
use super::place;
use crate::Telemetry;

/// Counts and traces the calls of a server, except those of tools and probes. Clones share it.
#[derive(Debug, Clone)]
pub struct Layer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    methods: Methods,
    telemetry: Telemetry,
}

/// A server's services behind a [`Layer`].
#[derive(Debug, Clone)]
pub struct Served<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl Layer {
    /// For a server that answers `calls`: the path of each, such as `/pangea.v1.Jobs/Submit`, and
    /// whether either side sends more than one message. Everything else is counted as unknown.
    ///
    /// # Errors
    ///
    /// [`Error`] when the telemetry has such a layer already.
    pub fn new(
        telemetry: &Telemetry,
        calls: impl IntoIterator<Item = (&'static str, bool)>,
    ) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            methods: Methods::new(&telemetry.registry, calls)?,
            telemetry: telemetry.clone(),
        })))
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Served<S>;

    fn layer(&self, inner: S) -> Served<S> {
        Served {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

impl Shared {
    fn begin<B>(&self, request: &Request<B>) -> Option<Call> {
        let method = self.methods.at(request.uri().path())?;
        let Telemetry {
            registry, tracer, ..
        } = &self.telemetry;
        let headers = request.headers();
        let caller = place::told(headers, registry);
        Some(Call::begin(method, tracer, headers, caller.as_ref()))
    }
}

impl<S, B, A> Service<Request<B>> for Served<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    A: Body,
{
    type Response = Response<Answer<A>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Answering<S::Future> {
        let mut call = self.shared.begin(&request);
        let inner = within(&mut call, || self.inner.call(request));
        Answering { inner, call }
    }
}

fn within<T>(call: &mut Option<Call>, work: impl FnOnce() -> T) -> T {
    match call {
        Some(call) => call.within(work),
        None => work(),
    }
}

pin_project! {
    /// An answer that is being worked on.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Answering<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
    }
}

impl<F, A, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<A>, E>>,
    A: Body,
{
    type Output = Result<Response<Answer<A>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(within(this.call, || this.inner.poll(cx)));
        let call = this.call.take();
        match answered {
            Ok(response) => {
                let is_all = response.body().is_end_stream();
                let call = call.and_then(|call| call.answer(response.headers(), is_all));
                Poll::Ready(Ok(response.map(|inner| Answer { inner, call })))
            }
            Err(error) => {
                if let Some(mut call) = call {
                    call.end(None);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

pin_project! {
    /// The body of an answer, which ends the call.
    #[derive(Debug)]
    pub struct Answer<A> {
        #[pin]
        inner: A,
        call: Option<Call>,
    }
}

impl<A: Body> Body for Answer<A> {
    type Data = A::Data;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<A::Data>, A::Error>>> {
        let this = self.project();
        let frame = ready!(within(this.call, || this.inner.poll_frame(cx)));
        let is_last = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) | None => true,
        };
        if is_last && let Some(mut call) = this.call.take() {
            let status = frame.as_ref().and_then(|frame| frame.as_ref().ok());
            call.end(status.and_then(Frame::trailers_ref));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
