//! Every metric of this crate.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Seconds of a task, from its lease to its verdict.
const TASK_BUCKETS: [f64; 9] = [0.005, 0.025, 0.1, 0.25, 0.5, 2.5, 10.0, 60.0, 300.0];

/// The metrics of a training-worker.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Tasks in work.
    pub tasks_running: IntGauge,
    /// Tasks by how they ended.
    pub tasks: IntCounterVec,
    /// Duration of tasks that ended in a verdict.
    pub task_seconds: Histogram,
    /// Leases extended while training ran.
    pub lease_extensions: IntCounter,
    /// Whether the orchestrator's session stands.
    pub connected: IntGauge,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    ///
    /// [`prometheus::Error`] when a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            tasks_running: IntGauge::with_opts(Opts::new(
                "pangea_worker_tasks_running",
                "Tasks in work.",
            ))?,
            tasks: IntCounterVec::new(
                Opts::new("pangea_worker_tasks_total", "Tasks by how they ended."),
                &["outcome"],
            )?,
            task_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "pangea_worker_task_duration_seconds",
                    "Duration of tasks that ended in a verdict, in seconds.",
                )
                .buckets(TASK_BUCKETS.to_vec()),
            )?,
            lease_extensions: IntCounter::with_opts(Opts::new(
                "pangea_worker_lease_extensions_total",
                "Leases extended while training ran.",
            ))?,
            connected: IntGauge::with_opts(Opts::new(
                "pangea_worker_connected",
                "Whether the orchestrator's session stands.",
            ))?,
        };
        registry.register(Box::new(metrics.tasks_running.clone()))?;
        registry.register(Box::new(metrics.tasks.clone()))?;
        registry.register(Box::new(metrics.task_seconds.clone()))?;
        registry.register(Box::new(metrics.lease_extensions.clone()))?;
        registry.register(Box::new(metrics.connected.clone()))?;
        Ok(metrics)
    }
}
