//! Requests over HTTP, and how they are counted.
//!
//! Every request counts when the last byte of its answer has been handed on, or when whoever asked
//! has gone.

mod connections;
mod exchange;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use prometheus::{Error, IntCounterVec, IntGauge};

use crate::Telemetry;
use crate::metrics::{ANSWER_SECONDS, BODY_BYTES, HistogramVec};
use crate::trace::Traced;
pub(crate) use connections::Connections;
use exchange::{Exchange, METHODS};

crate::metrics! {
    /// What an endpoint counts of its requests.
    pub struct Metrics {
        /// Requests that have ended, by the status of the answer. One whose caller left before the
        /// end is aborted.
        pub requests: IntCounterVec = "http_requests_total"
            {method in METHODS, endpoint, status}, rows: "S0-23 S1-12 S2-6 S3-2 S4-5";
        /// From the beginning of a request to the end of its answer, in seconds.
        pub duration: HistogramVec = "http_request_duration_seconds"
            {method in METHODS, endpoint, status},
            buckets: ANSWER_SECONDS, rows: "S0-24 S1-12 S2-6 S3-3 S4-5";
        /// Requests that were answered with a status of 500 or above, or aborted.
        pub errors: IntCounterVec = "http_requests_errors_total" {method in METHODS, endpoint},
            rows: "S0-25";
        /// Bytes of a request's body, as its headers announce them.
        pub request_bytes: HistogramVec = "http_request_size_bytes"
            {method in METHODS, endpoint}, buckets: BODY_BYTES, rows: "S3-4";
        /// Bytes of an answer's body that were handed on.
        pub response_bytes: HistogramVec = "http_response_size_bytes"
            {method in METHODS, endpoint}, buckets: BODY_BYTES, rows: "S3-5";
        /// Open connections to the HTTP endpoint; those for gRPC calls are not among them.
        pub connections: IntGauge = "http_active_connections", aka: ["active_connections"],
            rows: "S1-12 S3-6 S4-5";
    }
}

/// Counts the requests to an endpoint. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    metrics: Metrics,
    // By method, endpoint and status like the other, under a name of the service's own.
    also: Option<IntCounterVec>,
    telemetry: Telemetry,
}

impl Counted {
    /// `also` counts the same requests.
    pub(crate) fn new(telemetry: &Telemetry, also: Option<IntCounterVec>) -> Result<Self, Error> {
        Ok(Self {
            metrics: Metrics::register(&telemetry.registry)?,
            also,
            telemetry: telemetry.clone(),
        })
    }

    /// Counts what is asked of `router`.
    pub(crate) fn over(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), count))
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> IntGauge {
        self.metrics.connections.clone()
    }
}

async fn count(State(counted): State<Counted>, request: Request, next: Next) -> Response {
    let exchange = Exchange::begin(counted, &request);
    let answer = exchange.within(|| next.run(request).in_current());
    exchange.answer(answer.await)
}
