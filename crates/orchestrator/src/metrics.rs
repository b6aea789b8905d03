//! Every metric of this crate.

use telemetry::metrics::{Histogram, IntCounter, IntCounterVec, IntGauge};

/// Seconds of a round: from a softmax regression in one process to a night.
const ROUND_BUCKETS: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 2.5, 10.0, 60.0, 600.0, 3600.5];

telemetry::metrics! {
    /// The metrics of the orchestrator.
    pub struct Metrics {
        /// Runs that have not ended.
        pub runs_active: IntGauge = "pangea_runs_active";
        /// Workers with a session.
        pub active_workers: IntGauge = "active_workers", rows: "S0-28";
        /// Rounds whose model stands.
        pub rounds_committed: IntCounter = "pangea_rounds_committed_total";
        /// From opening a round to its commit, in seconds.
        pub round_seconds: Histogram = "pangea_round_duration_seconds", buckets: ROUND_BUCKETS;
        /// Updates that count.
        pub updates_accepted: IntCounter = "pangea_updates_accepted_total";
        /// Updates that do not count, by reason.
        pub updates_refused: IntCounterVec = "pangea_updates_refused_total" {reason};
        /// Tasks that workers could not do.
        pub tasks_failed: IntCounter = "pangea_tasks_failed_total";
        /// Steps that could not be taken and were tried again, by step.
        pub stalls: IntCounterVec = "pangea_stalls_total" {waiting_for};
    }
}
