//! The learning curves of runs that this worker works on, as gauges.
//!
//! A run is shown from its first number here until nothing was heard of it for [`SHOWN_FOR`], so
//! that its last number is seen by whoever looks every minute.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;
use telemetry::metrics::{GaugeSeries, Registry};

use crate::metrics::Metrics;

/// As long as Prometheus goes on showing a series that has ended.
pub const SHOWN_FOR: Duration = Duration::from_secs(5 * 60);

/// The curves that are shown. Clones share them.
#[derive(Clone)]
pub struct Curves(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    shown: Mutex<HashMap<String, Curve>>,
}

struct Curve {
    loss: GaugeSeries,
    accuracy: Option<GaugeSeries>,
    heard_at: Duration,
}

impl Curves {
    /// No curve yet. Those that are over end before each look at `registry`.
    #[must_use]
    pub fn new(metrics: Metrics, registry: &Registry, clock: Arc<dyn Clock>) -> Self {
        let this = Self(Arc::new(Inner {
            metrics,
            clock,
            shown: Mutex::default(),
        }));
        let own = this.clone();
        registry.on_scrape(move || own.end_old_ones());
        this
    }

    /// Shows how well `run` does now.
    ///
    /// # Units
    ///
    /// `loss`: nats, or a squared error; `accuracy`: a share, from 0 to 1, which a regression has not.
    pub fn show(&self, run: &str, loss: f64, accuracy: Option<f64>) {
        let now = self.0.clock.elapsed();
        let mut shown = self.shown();
        if !shown.contains_key(run) {
            // Also where nobody ever looks, runs do not pile up.
            self.retain_current(&mut shown, now);
            let curve = Curve {
                loss: self.0.metrics.loss.of(run),
                accuracy: accuracy.map(|_share| self.0.metrics.accuracy.of(run)),
                heard_at: now,
            };
            shown.insert(run.to_owned(), curve);
        }
        if let Some(curve) = shown.get_mut(run) {
            curve.loss.set(loss);
            if let (Some(series), Some(accuracy)) = (&curve.accuracy, accuracy) {
                series.set(accuracy);
            }
            curve.heard_at = now;
        }
    }

    fn end_old_ones(&self) {
        let now = self.0.clock.elapsed();
        self.retain_current(&mut self.shown(), now);
    }

    fn retain_current(&self, shown: &mut HashMap<String, Curve>, now: Duration) {
        shown.retain(|_run, curve| now.saturating_sub(curve.heard_at) < SHOWN_FOR);
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<String, Curve>> {
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Curves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.shown().keys()).finish()
    }
}
