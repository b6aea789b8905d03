//! Every metric of this crate.

use telemetry::metrics::{Each, Histogram, IntCounter, IntCounterVec, IntGauge};
use tonic::Status;

/// What compute-core is asked for.
const OPS: [&str; 9] = [
    "describe", "plan", "init", "has", "put", "train", "evaluate", "predict", "generate",
];

/// Why it did not do it: the reasons of its statuses in small letters, the one for what broke last.
const KINDS: [&str; 8] = [
    "invalid_message",
    "shape_mismatch",
    "body_not_held",
    "digest_mismatch",
    "diverged",
    "cancelled",
    "closing",
    "internal",
];

/// Where bodies are held: nowhere but in the process.
const TIERS: [&str; 1] = ["memory"];

/// Seconds of a computation: from a look at the cache, over a softmax regression on a hundred rows,
/// to minutes.
const PROCESSING_BUCKETS: [f64; 11] = [
    0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0,
];

/// Seconds until a turn: nothing while cores are free, as long as a training where they are not.
const WAIT_BUCKETS: [f64; 7] = [0.001, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

telemetry::metrics! {
    /// The metrics of compute-core.
    pub struct Metrics {
        /// Time that answered calls took, by what was asked for, the wait for a turn left out, in
        /// seconds.
        pub processing: Each<Histogram> = "pangea_rust_compute_processing_duration_seconds"
            {op in OPS}, buckets: PROCESSING_BUCKETS, rows: "S0-37";
        /// Computations that have their turn.
        pub active_tasks: IntGauge = "pangea_rust_compute_active_tasks", rows: "S0-38";
        /// Bytes of the bodies that answered calls read and yielded, by what was asked for.
        pub bytes: Each<IntCounter> = "pangea_rust_compute_data_bytes_processed_total"
            {op in OPS}, rows: "S0-39";
        /// Calls and trainings that ended in an error, by its kind.
        pub errors: Each<IntCounter> = "pangea_rust_compute_errors_total" {kind in KINDS},
            rows: "S0-40";
        /// Bodies that a call used and that were held before; the first use of one that had to be sent
        /// is none of them.
        pub cache_hits: Each<IntCounter> = "cache_hits_total" {tier in TIERS}, rows: "S3-20";
        /// Bodies that were sent because they were not held.
        pub cache_misses: Each<IntCounter> = "cache_misses_total" {tier in TIERS}, rows: "S3-21";
        /// Bodies that were let go of to make room for others.
        pub cache_evictions: Each<IntCounter> = "cache_evictions_total" {tier in TIERS};
        /// Bytes of parameters and examples held.
        pub cache_bytes: IntGauge = "pangea_compute_cache_bytes";
        /// The same as `http_requests_total`, under the name that dashboards of the compute layer
        /// have for it.
        pub http_requests: IntCounterVec =
            "pangea_rust_compute_http_requests_total" {method, endpoint, status}, rows: "S0-36";
        /// Optimiser steps of trainings that ended in a delta.
        pub steps: IntCounter = "pangea_compute_steps_total";
        /// Computations that wait for their turn.
        pub waiting_tasks: IntGauge = "pangea_compute_waiting_tasks";
        /// Time that computations waited for their turn, in seconds.
        pub turn_wait: Histogram = "pangea_compute_turn_wait_seconds", buckets: WAIT_BUCKETS;
    }
}

impl Metrics {
    /// Counts the error that an answer is, if it is one, and passes the answer on.
    pub(crate) fn counted<T>(&self, answer: Result<T, Status>) -> Result<T, Status> {
        answer.inspect_err(|status| {
            let reason = proto::fault::reason(status).unwrap_or_default();
            self.errors.of(&reason.to_ascii_lowercase()).inc();
        })
    }
}
