//! One request and its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use http_body::{Frame, SizeHint};

use super::Counted;
use crate::rpc::{request as request_id, told};
use crate::trace::{Scope, Span};

/// All methods that a label names.
pub(super) const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", OTHER,
];

/// A method that somebody made up.
const OTHER: &str = "other";

/// The endpoint of every path that nothing answers at.
const UNMATCHED: &str = "unmatched";

/// The status of an answer that nobody stayed for.
const ABORTED: &str = "aborted";

/// A request that has begun. Dropped before it has ended, it is aborted.
#[derive(Debug)]
pub(super) struct Exchange {
    counted: Counted,
    method: &'static str,
    endpoint: Option<MatchedPath>,
    started: Instant,
    request_bytes: u64,
    response_bytes: u64,
    status: Option<StatusCode>,
    scope: Option<Scope>,
    span: Option<Span>,
    has_ended: bool,
}

impl Exchange {
    pub(super) fn begin(counted: Counted, request: &Request) -> Self {
        let method = word(request.method());
        let endpoint = request.extensions().get::<MatchedPath>().cloned();
        let body = request.body().size_hint();
        // Probes and scrapes follow from nothing; a trace of each would be noise. One that says
        // where it comes from is part of a trace.
        let caller = told(request.headers(), &counted.telemetry.registry);
        let span = caller.map_or_else(Span::none, |caller| {
            let span = counted.telemetry.tracer.serve(method, Some(&caller));
            span.on_request(request_id(request.headers()))
        });
        if span.is_kept() {
            span.set("http.request.method", method);
            span.set("http.route", path(endpoint.as_ref()).to_owned());
        }
        let (scope, span) = span.split();
        Self {
            counted,
            method,
            endpoint,
            started: now(),
            request_bytes: body.exact().unwrap_or_else(|| body.lower()),
            response_bytes: 0,
            status: None,
            scope,
            span: Some(span),
            has_ended: false,
        }
    }

    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.scope {
            Some(scope) => scope.clone().run(work),
            None => work(),
        }
    }

    /// Goes along with the answer, to its end.
    pub(super) fn answer(mut self, response: Response) -> Response {
        self.status = Some(response.status());
        response.map(|inner| {
            let mut answer = Answer {
                inner,
                exchange: self,
            };
            // Of an answer to HEAD, the framework sends no body, so nobody comes to its end.
            if answer.inner.is_end_stream() || answer.exchange.method == "HEAD" {
                answer.exchange.end(false);
            }
            Body::new(answer)
        })
    }

    fn end(&mut self, is_aborted: bool) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        self.within(|| self.count(is_aborted));
        self.scope = None;
        let Some(span) = self.span.take().filter(Span::is_kept) else {
            return;
        };
        if is_aborted {
            span.fail("the caller left");
        } else if let Some(status) = self.status {
            span.set("http.response.status_code", i32::from(status.as_u16()));
            if status.is_server_error() {
                span.fail(status);
            }
        }
    }

    fn count(&self, is_aborted: bool) {
        let metrics = &self.counted.metrics;
        let endpoint = path(self.endpoint.as_ref());
        let status = self.status.as_ref().filter(|_| !is_aborted);
        let labels = [
            self.method,
            endpoint,
            status.map_or(ABORTED, StatusCode::as_str),
        ];
        metrics.requests.with_label_values(&labels).inc();
        if let Some(also) = &self.counted.also {
            also.with_label_values(&labels).inc();
        }
        let seconds = now().saturating_duration_since(self.started);
        metrics.duration.with(&labels).observe_duration(seconds);
        let labels = [self.method, endpoint];
        if status.is_none_or(StatusCode::is_server_error) {
            metrics.errors.with_label_values(&labels).inc();
        }
        let bytes = metrics.request_bytes.with(&labels);
        bytes.observe(as_number(self.request_bytes));
        let bytes = metrics.response_bytes.with(&labels);
        bytes.observe(as_number(self.response_bytes));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(true);
    }
}

struct Answer {
    inner: Body,
    exchange: Exchange,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.exchange.response_bytes += bytes as u64;
        }
        // Who reads by the announced length does not ask for more after the last byte.
        match &frame {
            Some(Err(_)) => self.exchange.end(true),
            Some(Ok(_)) if !self.inner.is_end_stream() => {}
            Some(Ok(_)) | None => self.exchange.end(false),
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

fn word(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|known| **known == method.as_str());
    known.copied().unwrap_or(OTHER)
}

fn path(endpoint: Option<&MatchedPath>) -> &str {
    endpoint.map_or(UNMATCHED, MatchedPath::as_str)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a body of 2^53 bytes is not to be expected"
)]
fn as_number(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is of real time, whatever time a simulation has"
)]
fn now() -> Instant {
    Instant::now()
}
