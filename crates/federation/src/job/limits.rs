//! The ranges of a job's values.
//!
//! Each check gives a value of the right type whatever it finds. When it has found a violation,
//! that value is a stand-in which nobody sees, since the job as a whole is refused.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::violation::Violations;
use crate::partition::Concentration;

/// A run of more rounds is better continued from its published model.
pub(super) const ROUNDS_MAX: u32 = 100_000;
/// Cohorts and partitions are held in memory per client.
pub(super) const CLIENTS_MAX: u32 = 100_000;
/// A batch and its activations are held in memory.
pub(super) const BATCH_SIZE_MAX: u32 = 65_536;
/// Each halves its image; more would leave nothing of the largest that there may be.
pub(super) const CONVOLUTIONS_MAX: usize = 12;
/// One task of more passes or batches outlasts every deadline.
pub(super) const LOCAL_DURATION_MAX: u32 = 1_000_000;
/// Shorter is less than a dispatch takes; longer outlives what a round's record is kept for.
pub(super) const DEADLINE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);

const NAME_LEN_MAX: usize = 63;

/// Whether `name` may name a job, a data set or a model: 1 to 63 of `a-z 0-9 . _ -`, beginning with
/// a letter or digit.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= NAME_LEN_MAX
        && bytes.first().is_some_and(|byte| first(*byte))
        && bytes
            .iter()
            .all(|byte| first(*byte) || b"._-".contains(byte))
}

impl Violations {
    pub(super) fn name(&mut self, field: &str, name: &str) {
        if !is_name(name) {
            let shown: String = name.chars().take(NAME_LEN_MAX + 1).collect();
            self.add(
                field,
                format!(
                    "is {shown:?}; must be 1 to {NAME_LEN_MAX} of a-z, 0-9, '.', '_' and '-', \
                     beginning with a letter or digit"
                ),
            );
        }
    }

    pub(super) fn count(&mut self, field: &str, value: u32, max: u32) -> NonZeroU32 {
        if value > max {
            self.add(field, format!("is {value}; must be from 1 to {max}"));
        }
        NonZeroU32::new(value).unwrap_or_else(|| {
            self.add(field, format!("is 0; must be from 1 to {max}"));
            NonZeroU32::MIN
        })
    }

    pub(super) fn at_least_one(&mut self, field: &str, value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap_or_else(|| {
            self.add(field, "is 0; must be at least 1");
            NonZeroU32::MIN
        })
    }

    pub(super) fn fraction(&mut self, field: &str, value: f64) {
        if !(value > 0.0 && value <= 1.0) {
            self.add(
                field,
                format!("is {value:?}; must be above 0 and at most 1"),
            );
        }
    }

    pub(super) fn concentration(&mut self, field: &str, value: f64) -> Concentration {
        Concentration::new(value).unwrap_or_else(|| {
            self.add(
                field,
                format!("is {value:?}; must be a finite number above 0"),
            );
            Concentration::ONE
        })
    }

    pub(super) fn finite(&mut self, field: &str, value: f64) {
        if !value.is_finite() {
            self.add(field, format!("is {value:?}; must be a finite number"));
        }
    }

    pub(super) fn positive(&mut self, field: &str, value: f32) {
        if !(value > 0.0 && value.is_finite()) {
            self.add(
                field,
                format!("is {value:?}; must be a finite number above 0"),
            );
        }
    }

    pub(super) fn not_negative(&mut self, field: &str, value: f32) {
        if !(value >= 0.0 && value.is_finite()) {
            self.add(
                field,
                format!("is {value:?}; must be a finite number of at least 0"),
            );
        }
    }

    pub(super) fn decay(&mut self, field: &str, value: f32) {
        if !(0.0..1.0).contains(&value) {
            self.add(
                field,
                format!("is {value:?}; must be at least 0 and below 1"),
            );
        }
    }

    pub(super) fn deadline(&mut self, field: &str, value: Duration) {
        if !DEADLINE.contains(&value) {
            self.add(
                field,
                format!(
                    "is {}; must be from 1s to 7d",
                    humantime::format_duration(value)
                ),
            );
        }
    }
}
