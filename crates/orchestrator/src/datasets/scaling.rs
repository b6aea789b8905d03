//! Brings features to a common scale. The scaling belongs to the model: rows to predict go through
//! the one that the training rows gave.

use serde::{Deserialize, Serialize};

/// Per feature, `x ↦ (x − offset) × factor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// `[features]`.
    pub offset: Vec<f32>,
    /// `[features]`.
    pub factor: Vec<f32>,
}

impl Scaling {
    /// Leaves rows of `n` features as they are.
    #[must_use]
    pub fn identity(n: usize) -> Self {
        Self {
            offset: vec![0.0; n],
            factor: vec![1.0; n],
        }
    }

    /// Brings every feature of these rows to mean 0 and standard deviation 1.
    ///
    /// A feature that is the same in all rows keeps factor 1, and so becomes 0. Mean and deviation
    /// are taken in f64 over two passes; the deviation is that of the rows themselves (divided by
    /// their number, not by one less).
    ///
    /// # Shapes
    ///
    /// - `features`: `[rows, n]`
    #[must_use]
    pub fn standard(features: &[f32], n: usize) -> Self {
        if n == 0 || features.len() < n {
            return Self::identity(n);
        }
        let rows = (features.len() / n) as f64;
        let mut means = vec![0.0_f64; n];
        for row in features.chunks_exact(n) {
            for (mean, x) in means.iter_mut().zip(row) {
                *mean += f64::from(*x);
            }
        }
        means.iter_mut().for_each(|mean| *mean /= rows);

        let mut variances = vec![0.0_f64; n];
        let mut constant = vec![true; n];
        for row in features.chunks_exact(n) {
            for (feature, x) in row.iter().enumerate() {
                variances[feature] += (f64::from(*x) - means[feature]).powi(2) / rows;
                constant[feature] &= x.to_bits() == features[feature].to_bits();
            }
        }
        let factor = |(variance, constant): (&f64, &bool)| {
            let factor = narrow(variance.sqrt().recip());
            if *constant || !factor.is_finite() {
                1.0
            } else {
                factor
            }
        };
        Self {
            offset: means.iter().map(|mean| narrow(*mean)).collect(),
            factor: variances.iter().zip(&constant).map(factor).collect(),
        }
    }

    /// Scales `rows` in place.
    ///
    /// # Shapes
    ///
    /// - `rows`: `[any number, features]`
    pub fn apply(&self, rows: &mut [f32]) {
        let scales = self.offset.iter().zip(&self.factor).cycle();
        for (x, (offset, factor)) in rows.iter_mut().zip(scales) {
            // In f64, where the difference of two f32 cannot overflow.
            *x = narrow((f64::from(*x) - f64::from(*offset)) * f64::from(*factor));
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the purpose"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_rows_have_mean_zero_and_deviation_one() {
        let mut rows = vec![1.0, 100.0, 3.0, 300.0];
        let scaling = Scaling::standard(&rows, 2);
        assert_eq!(scaling.offset, [2.0, 200.0]);
        assert_eq!(scaling.factor, [1.0, 0.01]);
        scaling.apply(&mut rows);
        assert_eq!(rows, [-1.0, -1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_constant_feature_becomes_zero() {
        // 0.1 is not exact: its mean over three rows may miss it, and must not be divided by.
        let mut rows = vec![0.1, 5.0, 0.1, 6.0, 0.1, 7.0];
        let scaling = Scaling::standard(&rows, 2);
        assert_eq!(scaling.factor[..1], [1.0]);
        scaling.apply(&mut rows);
        assert_eq!(rows[..1], [0.0]);
    }

    #[test]
    fn a_small_spread_around_a_large_mean_is_kept() {
        // Around 10⁶, one pass in f32 would lose a deviation of 1/2.
        let mut rows: Vec<f32> = (0..1000_u16).map(|row| 1e6 + f32::from(row % 2)).collect();
        let scaling = Scaling::standard(&rows, 1);
        assert_eq!((scaling.offset[0], scaling.factor[0]), (1_000_000.5, 2.0));
        scaling.apply(&mut rows);
        assert_eq!(rows[..2], [-1.0, 1.0]);
    }

    #[test]
    fn extremes_stay_finite() {
        for rows in [[f32::MAX, f32::MIN], [f32::MIN_POSITIVE, 0.0], [1e-45, 0.0]] {
            let mut scaled = rows;
            Scaling::standard(&rows, 1).apply(&mut scaled);
            assert!(scaled.iter().all(|x| x.is_finite()), "{rows:?}: {scaled:?}");
        }
    }

    #[test]
    fn identity_changes_nothing() {
        let mut rows = vec![1.5, -2.0, 0.0, 7.0];
        Scaling::identity(2).apply(&mut rows);
        assert_eq!(rows, [1.5, -2.0, 0.0, 7.0]);
        assert_eq!(Scaling::standard(&[], 2), Scaling::identity(2));
    }

    #[test]
    fn a_scaling_reads_back_what_it_wrote() {
        let scaling = Scaling::standard(&[0.1, 7.3, 0.4, -3.1, 0.9, 2.2], 2);
        let stored = serde_json::to_string(&scaling).unwrap();
        assert_eq!(serde_json::from_str::<Scaling>(&stored).unwrap(), scaling);
    }
}
