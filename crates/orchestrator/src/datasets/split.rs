//! Sets rows aside for tests. What is set aside is in no client's shard.

use federation::{fraction, seed};
use rand::seq::index;
use thiserror::Error;

/// Rows for training and rows for tests: disjoint, together all, each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Dealt to clients.
    pub train: Vec<u32>,
    /// Kept for evaluation.
    pub test: Vec<u32>,
}

/// Why rows cannot be split so.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum SplitError {
    /// Not a part of a whole.
    #[error("test fraction is {fraction}; must be at least 0 and below 1")]
    FractionOutOfRange {
        /// What was given.
        fraction: f64,
    },
    /// Row indices are `u32`.
    #[error("the data set has {rows} rows; at most {max} are accepted", max = u32::MAX)]
    TooManyRows {
        /// How many there are.
        rows: usize,
    },
    /// A test of nothing.
    #[error(
        "a test fraction of {fraction} leaves no test rows among {rows}; make it larger, or 0 for \
         none"
    )]
    NoTestRows {
        /// How many rows there are.
        rows: usize,
        /// The part to set aside.
        fraction: f64,
    },
    /// Nothing to train on.
    #[error("a test fraction of {fraction} leaves no training rows among {rows}")]
    NoTrainingRows {
        /// How many rows there are.
        rows: usize,
        /// The part to set aside.
        fraction: f64,
    },
}

/// Sets aside `test_fraction` of the rows `0..rows`, to the nearest row; every choice of that many
/// is equally likely.
///
/// # Errors
///
/// [`SplitError`] when the fraction is not in `[0, 1)`, or when a side would be empty (the test
/// side may be, if the fraction is 0).
pub fn split(rows: usize, test_fraction: f64, seed: u64) -> Result<Split, SplitError> {
    let fraction = test_fraction;
    if !(0.0..1.0).contains(&fraction) {
        return Err(SplitError::FractionOutOfRange { fraction });
    }
    let count = u32::try_from(rows).map_err(|_too_large| SplitError::TooManyRows { rows })?;
    let num_test = fraction::nearest(fraction, rows);
    if num_test == rows {
        return Err(SplitError::NoTrainingRows { rows, fraction });
    }
    if num_test == 0 && fraction > 0.0 {
        return Err(SplitError::NoTestRows { rows, fraction });
    }

    let mut rng = seed::stream(seed, "split", &[]);
    let mut is_test = vec![false; rows];
    for row in index::sample(&mut rng, rows, num_test) {
        is_test[row] = true;
    }
    let (test, train) = (0..count).partition(|row| is_test[*row as usize]);
    Ok(Split { train, test })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_on_one_side() {
        let Split { train, test } = split(1797, 0.2, 7).unwrap();
        assert_eq!((train.len(), test.len()), (1438, 359));
        assert!(train.is_sorted() && test.is_sorted());
        let mut rows = [train, test].concat();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..1797));
    }

    #[test]
    fn the_seed_decides_which_rows() {
        assert_eq!(split(100, 0.3, 7), split(100, 0.3, 7));
        assert_ne!(split(100, 0.3, 7), split(100, 0.3, 8));
    }

    #[test]
    fn the_splits_of_past_runs_can_be_made_again() {
        // A release that changes these rows tests models on rows they were trained on.
        assert_eq!(split(12, 0.25, 7).unwrap().test, [0, 1, 8]);
    }

    #[test]
    fn a_fraction_of_zero_sets_nothing_aside() {
        let Split { train, test } = split(3, 0.0, 7).unwrap();
        assert_eq!((train, test), (vec![0, 1, 2], vec![]));
    }

    #[test]
    fn a_side_without_rows_is_refused() {
        let refusal = |rows, fraction| split(rows, fraction, 7).unwrap_err().to_string();
        assert_eq!(
            refusal(4, 0.1),
            "a test fraction of 0.1 leaves no test rows among 4; make it larger, or 0 for none"
        );
        assert_eq!(
            refusal(2, 0.9),
            "a test fraction of 0.9 leaves no training rows among 2"
        );
        assert_eq!(
            refusal(0, 0.0),
            "a test fraction of 0 leaves no training rows among 0"
        );
    }

    #[test]
    fn a_fraction_out_of_range_is_refused() {
        for (fraction, shown) in [(1.0, "1"), (-0.1, "-0.1"), (f64::NAN, "NaN")] {
            assert_eq!(
                split(10, fraction, 7).unwrap_err().to_string(),
                format!("test fraction is {shown}; must be at least 0 and below 1")
            );
        }
    }
}
