//! The calls that a server answers, and what it counts of each.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use tonic::Code;

use crate::metrics::{ANSWER_SECONDS, Histogram, HistogramVec, Registry};

/// The words of the codes, by their numbers.
///
/// # Source
///
/// <https://grpc.io/docs/guides/status-codes/>.
const CODES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// The service and the method of every path that nobody answers.
const UNKNOWN: &str = "unknown";

/// Services for tools and probes. They would be most of the calls of a quiet house.
const UNCOUNTED: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

crate::metrics! {
    /// What a server counts of its calls.
    pub struct Metrics {
        /// Calls that have ended, by code. One whose caller left before the end is cancelled.
        pub requests: IntCounterVec = "rpc_requests_total" {service, method, code in CODES},
            rows: "S0-26";
        /// From the beginning of a call to the end of its answer, in seconds.
        pub duration: HistogramVec = "rpc_request_duration_seconds" {service, method},
            buckets: ANSWER_SECONDS, rows: "S0-27";
        /// Calls that have begun and not ended.
        pub in_flight: IntGaugeVec = "rpc_requests_in_flight" {service, method};
    }
}

/// All calls of a server, by path.
#[derive(Debug)]
pub(super) struct Methods {
    known: HashMap<&'static str, Arc<Method>>,
    unknown: Arc<Method>,
}

/// One call that a server answers.
#[derive(Debug)]
pub(super) struct Method {
    /// `pangea.v1.Jobs/Submit`.
    pub(super) name: &'static str,
    pub(super) service: &'static str,
    pub(super) method: &'static str,
    /// Whether either side sends more than one message.
    pub(super) streams: bool,
    pub(super) duration: Histogram,
    pub(super) in_flight: IntGauge,
    requests: IntCounterVec,
    by_code: [OnceLock<IntCounter>; CODES.len()],
}

impl Methods {
    pub(super) fn new(
        registry: &Registry,
        calls: impl IntoIterator<Item = (&'static str, bool)>,
    ) -> Result<Self, Error> {
        let metrics = Metrics::register(registry)?;
        let known = calls
            .into_iter()
            .map(|(path, streams)| (path, Arc::new(Method::new(&metrics, path, streams))))
            .collect();
        Ok(Self {
            known,
            unknown: Arc::new(Method::new(&metrics, "", false)),
        })
    }

    /// What is counted for a path; nothing for tools and probes.
    pub(super) fn at(&self, path: &str) -> Option<&Arc<Method>> {
        let known = self.known.get(path);
        if known.is_none() && UNCOUNTED.iter().any(|prefix| path.starts_with(prefix)) {
            return None;
        }
        Some(known.unwrap_or(&self.unknown))
    }
}

impl Method {
    fn new(metrics: &Metrics, path: &'static str, streams: bool) -> Self {
        let name = path.strip_prefix('/').unwrap_or(UNKNOWN);
        let (service, method) = name.split_once('/').unwrap_or((UNKNOWN, UNKNOWN));
        let labels = [service, method];
        Self {
            name,
            service,
            method,
            streams,
            duration: metrics.duration.with(&labels),
            in_flight: metrics.in_flight.with_label_values(&labels),
            requests: metrics.requests.clone(),
            by_code: Default::default(),
        }
    }

    pub(super) fn count(&self, code: Code) {
        let number = usize::try_from(code as i32).unwrap_or(0);
        let counter = self.by_code[number].get_or_init(|| {
            self.requests
                .with_label_values(&[self.service, self.method, word(code)])
        });
        counter.inc();
    }
}

/// The word of a code, as in a label.
pub(super) fn word(code: Code) -> &'static str {
    let number = usize::try_from(code as i32).unwrap_or(0);
    CODES[number]
}
