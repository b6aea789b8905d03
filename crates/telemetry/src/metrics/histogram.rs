//! A histogram that remembers the traces behind its numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exemplars::{ExemplarTable, Exemplars};
use super::family::Family;
use crate::trace::kept_here;

/// A handle on one histogram.
#[derive(Debug, Clone)]
pub struct Histogram {
    pub(super) inner: prometheus::Histogram,
    pub(super) exemplars: Arc<Exemplars>,
}

/// A duration that is being measured; dropped, it counts nothing.
#[derive(Debug)]
pub struct Timer {
    histogram: Histogram,
    started: Instant,
}

/// Histograms by labels. Resolve handles once; a look-up costs as much as the observation.
#[derive(Debug, Clone)]
pub struct HistogramVec {
    pub(super) inner: prometheus::HistogramVec,
    pub(super) family: &'static Family,
    pub(super) table: Arc<ExemplarTable>,
}

impl Histogram {
    /// Counts one observation, with the kept span that it was made in, if any.
    #[inline]
    pub fn observe(&self, value: f64) {
        self.inner.observe(value);
        if let Some(span) = kept_here() {
            self.exemplars.put(value, span);
        }
    }

    /// Counts a duration, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Begins to measure a duration, which counts when [stopped](Timer::stop).
    #[must_use]
    pub fn start(&self) -> Timer {
        Timer {
            histogram: self.clone(),
            started: now(),
        }
    }

    /// How many observations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner.get_sample_count()
    }
}

impl Timer {
    /// Counts the duration, and says it.
    pub fn stop(self) -> Duration {
        let duration = self.duration();
        self.histogram.observe_duration(duration);
        duration
    }

    /// Counts the duration of what was done together: an equal part here and in each of `others`.
    pub fn stop_with(self, others: &[&Histogram]) {
        let parts = u32::try_from(others.len()).map_or(u32::MAX, |others| others.saturating_add(1));
        let part = self.duration() / parts;
        self.histogram.observe_duration(part);
        for other in others {
            other.observe_duration(part);
        }
    }

    fn duration(&self) -> Duration {
        now().saturating_duration_since(self.started)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is of real time, whatever time a simulation has"
)]
fn now() -> Instant {
    Instant::now()
}

impl HistogramVec {
    /// The handle for these values, in the order of the declaration.
    ///
    /// # Panics
    ///
    /// When there are more or fewer values than labels.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Histogram {
        Histogram {
            inner: self.inner.with_label_values(values),
            exemplars: self
                .table
                .of(sorted(self.family, values), self.family.buckets),
        }
    }

    /// Ends a series.
    pub fn remove(&self, values: &[&str]) {
        // What is not there is removed already.
        drop(self.inner.remove_label_values(values));
        self.table.remove(&sorted(self.family, values));
    }
}

/// The values in the order of their labels' names, as a snapshot has them.
pub(super) fn sorted(family: &Family, values: &[&str]) -> Vec<String> {
    let mut pairs: Vec<_> = family
        .labels
        .iter()
        .zip(values)
        .map(|(label, value)| (label.name, *value))
        .collect();
    pairs.sort_unstable();
    pairs
        .into_iter()
        .map(|(_, value)| value.to_owned())
        .collect()
}
