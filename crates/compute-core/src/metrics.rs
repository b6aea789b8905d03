//! Every metric of this crate.

use telemetry::metrics::{Histogram, IntCounter, IntGauge};

/// Seconds of a training: from a softmax regression on a hundred rows to minutes.
const TRAIN_BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0];

telemetry::metrics! {
    /// The metrics of compute-core.
    pub struct Metrics {
        /// Duration of trainings that ended in a delta, in seconds.
        pub train_seconds: Histogram = "pangea_compute_train_duration_seconds",
            buckets: TRAIN_BUCKETS;
        /// Optimiser steps taken.
        pub steps: IntCounter = "pangea_compute_steps_total";
        /// Trainings that ended in an error.
        pub train_failures: IntCounter = "pangea_compute_train_failures_total";
        /// Bytes of parameters and examples held.
        pub cache_bytes: IntGauge = "pangea_compute_cache_bytes";
        /// The same as `http_requests_total`, under the name that dashboards of the compute layer
        /// have for it.
        pub http_requests: telemetry::metrics::IntCounterVec =
            "pangea_rust_compute_http_requests_total" {method, endpoint, status}, rows: "S0-36";
    }
}
