//! Series that live as long as what they are about: a worker, a run.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{GaugeVec, IntGaugeVec};

use super::bounded::{Bounded, OTHER};

/// Most subjects with a series of their own at one time. A thousand runs at once would be a
/// dashboard that nobody reads.
pub(super) const SUBJECTS_MAX: usize = 200;

/// A family with one label, whose series come and go.
pub struct Living<B: MetricVecBuilder> {
    pub(super) vec: MetricVec<B>,
    pub(super) names: Bounded,
    pub(super) holders: Arc<Mutex<HashMap<String, usize>>>,
}

/// Whole numbers of subjects that come and go.
pub type LivingIntGauge = Living<<IntGaugeVec as VecOf>::Builder>;

/// Numbers of subjects that come and go.
pub type LivingGauge = Living<<GaugeVec as VecOf>::Builder>;

/// One series of a [`LivingIntGauge`].
pub type IntGaugeSeries = Series<<IntGaugeVec as VecOf>::Builder>;

/// One series of a [`LivingGauge`].
pub type GaugeSeries = Series<<GaugeVec as VecOf>::Builder>;

/// Names the builder of a vector.
pub trait VecOf {
    /// The builder.
    type Builder: MetricVecBuilder;
}

impl<B: MetricVecBuilder> VecOf for MetricVec<B> {
    type Builder = B;
}

/// One series. It ends when the last of its holders is dropped.
pub struct Series<B: MetricVecBuilder> {
    metric: B::M,
    name: String,
    family: Living<B>,
}

impl<B: MetricVecBuilder> Living<B> {
    pub(super) fn new(vec: MetricVec<B>, names: Bounded) -> Self {
        Self {
            vec,
            names,
            holders: Arc::default(),
        }
    }

    /// The series of `subject`, for as long as it is held.
    #[must_use]
    pub fn of(&self, subject: &str) -> Series<B> {
        let name = self.names.admit(subject).to_owned();
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        *holders.entry(name.clone()).or_insert(0) += 1;
        let metric = self.vec.with_label_values(&[&name]);
        drop(holders);
        Series {
            metric,
            name,
            family: self.clone(),
        }
    }
}

impl<B: MetricVecBuilder> Clone for Living<B> {
    fn clone(&self) -> Self {
        Self {
            vec: self.vec.clone(),
            names: self.names.clone(),
            holders: Arc::clone(&self.holders),
        }
    }
}

impl<B: MetricVecBuilder> Deref for Series<B> {
    type Target = B::M;

    fn deref(&self) -> &B::M {
        &self.metric
    }
}

impl<B: MetricVecBuilder> Drop for Series<B> {
    fn drop(&mut self) {
        let family = &self.family;
        let mut holders = family
            .holders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(count) = holders.get_mut(&self.name) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            holders.remove(&self.name);
            // Under the lock, so that a new holder does not lose its series.
            drop(family.vec.remove_label_values(&[&self.name]));
            if self.name != OTHER {
                family.names.release(&self.name);
            }
        }
    }
}

impl<B: MetricVecBuilder> fmt::Debug for Living<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Living").finish_non_exhaustive()
    }
}

impl<B: MetricVecBuilder> fmt::Debug for Series<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Series").field(&self.name).finish()
    }
}
