//! Every metric of this crate.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Seconds of a round: from a softmax regression in one process to a night.
const ROUND_BUCKETS: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 2.5, 10.0, 60.0, 600.0, 3600.5];

/// The metrics of the orchestrator.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Runs that have not ended.
    pub runs_active: IntGauge,
    /// Workers with a session.
    pub active_workers: IntGauge,
    /// Rounds whose model stands.
    pub rounds_committed: IntCounter,
    /// From opening a round to its commit.
    pub round_seconds: Histogram,
    /// Updates that count.
    pub updates_accepted: IntCounter,
    /// Updates that do not, by reason.
    pub updates_refused: IntCounterVec,
    /// Tasks that workers could not do.
    pub tasks_failed: IntCounter,
    /// Times that a run could not go on, by what it waited for.
    pub stalls: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    ///
    /// [`prometheus::Error`] when a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::with_opts(Opts::new(name, help));
        let counter = |name: &str, help: &str| IntCounter::with_opts(Opts::new(name, help));
        let metrics = Self {
            runs_active: gauge("pangea_runs_active", "Runs that have not ended.")?,
            active_workers: gauge("active_workers", "Workers with a session.")?,
            rounds_committed: counter(
                "pangea_rounds_committed_total",
                "Rounds whose model stands.",
            )?,
            round_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "pangea_round_duration_seconds",
                    "From opening a round to its commit, in seconds.",
                )
                .buckets(ROUND_BUCKETS.to_vec()),
            )?,
            updates_accepted: counter("pangea_updates_accepted_total", "Updates that count.")?,
            updates_refused: IntCounterVec::new(
                Opts::new(
                    "pangea_updates_refused_total",
                    "Updates that do not count, by reason.",
                ),
                &["reason"],
            )?,
            tasks_failed: counter(
                "pangea_tasks_failed_total",
                "Tasks that workers could not do.",
            )?,
            stalls: IntCounterVec::new(
                Opts::new(
                    "pangea_stalls_total",
                    "Steps that could not be taken and were tried again, by step.",
                ),
                &["waiting_for"],
            )?,
        };
        registry.register(Box::new(metrics.runs_active.clone()))?;
        registry.register(Box::new(metrics.active_workers.clone()))?;
        registry.register(Box::new(metrics.rounds_committed.clone()))?;
        registry.register(Box::new(metrics.round_seconds.clone()))?;
        registry.register(Box::new(metrics.updates_accepted.clone()))?;
        registry.register(Box::new(metrics.updates_refused.clone()))?;
        registry.register(Box::new(metrics.tasks_failed.clone()))?;
        registry.register(Box::new(metrics.stalls.clone()))?;
        Ok(metrics)
    }
}
