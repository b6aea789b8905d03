//! Every metric of this crate.

use telemetry::metrics::{Histogram, IntCounter, IntCounterVec, IntGauge};

/// Seconds of a task, from its lease to its verdict.
const TASK_BUCKETS: [f64; 9] = [0.005, 0.025, 0.1, 0.25, 0.5, 2.5, 10.0, 60.0, 300.0];

telemetry::metrics! {
    /// The metrics of a training-worker.
    pub struct Metrics {
        /// Tasks in work.
        pub tasks_running: IntGauge = "pangea_worker_tasks_running";
        /// Tasks by how they ended.
        pub tasks: IntCounterVec = "pangea_worker_tasks_total" {outcome};
        /// Duration of tasks that ended in a verdict, in seconds.
        pub task_seconds: Histogram = "pangea_worker_task_duration_seconds",
            buckets: TASK_BUCKETS;
        /// Leases extended while training ran.
        pub lease_extensions: IntCounter = "pangea_worker_lease_extensions_total";
        /// Whether the orchestrator's session stands.
        pub connected: IntGauge = "pangea_worker_connected";
    }
}
