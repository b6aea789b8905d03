//! What is counted of runs.

use telemetry::metrics::{Each, Histogram, IntCounter, IntGauge};

/// How a run can end.
const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];

/// Who or what a run can wait for.
const WAITED_FOR: [&str; 4] = ["compute-core", "run store", "artifacts", "task queue"];

/// Seconds of a run: from a few rounds in one process to a week.
const RUN_BUCKETS: [f64; 10] = [
    0.5, 1.5, 10.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0, 604_800.0,
];

telemetry::metrics! {
    /// The metrics of runs.
    pub struct Runs {
        /// Runs that ended, by how.
        pub ended: Each<IntCounter> = "collab_sessions_total" {status in ENDS}, rows: "S3-28";
        /// Runs that have not ended.
        pub active: IntGauge = "collab_active_sessions", rows: "S3-29";
        /// Time from the submission of a run to its end, in seconds.
        pub seconds: Histogram = "collab_session_duration_seconds", buckets: RUN_BUCKETS,
            rows: "S3-30";
        /// Steps of runs that could not be taken and were tried again, by who or what was not there.
        pub stalls: Each<IntCounter> = "pangea_stalls_total" {waiting_for in WAITED_FOR};
    }
}
