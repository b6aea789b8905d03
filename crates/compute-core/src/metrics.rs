//! Every metric of this crate.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

/// Seconds of a training: from a softmax regression on a hundred rows to minutes.
const TRAIN_BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0];

/// The metrics of compute-core.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Duration of trainings that ended in a delta.
    pub train_seconds: Histogram,
    /// Optimiser steps taken.
    pub steps: IntCounter,
    /// Trainings that ended in an error.
    pub train_failures: IntCounter,
    /// Bytes of parameters and examples held.
    pub cache_bytes: IntGauge,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    ///
    /// [`prometheus::Error`] when a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let train_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "pangea_compute_train_duration_seconds",
                "Duration of trainings that ended in a delta, in seconds.",
            )
            .buckets(TRAIN_BUCKETS.to_vec()),
        )?;
        let steps = IntCounter::with_opts(Opts::new(
            "pangea_compute_steps_total",
            "Optimiser steps taken.",
        ))?;
        let train_failures = IntCounter::with_opts(Opts::new(
            "pangea_compute_train_failures_total",
            "Trainings that ended in an error.",
        ))?;
        let cache_bytes = IntGauge::with_opts(Opts::new(
            "pangea_compute_cache_bytes",
            "Bytes of parameters and examples held.",
        ))?;
        registry.register(Box::new(train_seconds.clone()))?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(train_failures.clone()))?;
        registry.register(Box::new(cache_bytes.clone()))?;
        Ok(Self {
            train_seconds,
            steps,
            train_failures,
            cache_bytes,
        })
    }
}
