//! Draws from a symmetric Dirichlet distribution.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma, OpenClosed01};

/// The parameter α of a symmetric Dirichlet distribution: finite and above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concentration(f64);

/// Beyond these powers of ten an α acts as if it were at them, and sums stay finite.
const EXTREMES: (f64, f64) = (1e-300, 1e300);

impl Concentration {
    /// α = 1: every division is equally likely.
    pub const ONE: Self = Self(1.0);

    /// `alpha` as a concentration, unless it is zero, negative or not finite.
    #[must_use]
    pub fn new(alpha: f64) -> Option<Self> {
        (alpha.is_finite() && alpha > 0.0).then_some(Self(alpha))
    }

    /// The number α.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// `parts` proportions that sum to one.
    ///
    /// Normalises Gamma(α) draws. For small α those underflow to zero, all of them at worst, so
    /// that their logarithms are drawn instead: `ln Gamma(α) = ln Gamma(α + 1) + ln U / α`.
    ///
    /// # Source
    ///
    /// The boost for shapes below one of Marsaglia and Tsang 2000, section 6,
    /// <https://doi.org/10.1145/358407.358414>.
    pub(super) fn divide(self, parts: usize, rng: &mut impl Rng) -> Vec<f64> {
        let alpha = self.0.clamp(EXTREMES.0, EXTREMES.1);
        let gamma = Gamma::new(alpha + 1.0, 1.0).expect("α + 1 is finite and above one");
        let logs: Vec<f64> = (0..parts)
            .map(|_| {
                let uniform: f64 = rng.sample(OpenClosed01);
                gamma.sample(rng).ln() + uniform.ln() / alpha
            })
            .collect();

        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    fn divide(alpha: f64, parts: usize, draw: u64) -> Vec<f64> {
        let mut rng = seed::stream(7, "test", &[draw]);
        Concentration::new(alpha).unwrap().divide(parts, &mut rng)
    }

    #[test]
    fn what_is_no_concentration_is_refused() {
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Concentration::new(alpha), None);
        }
    }

    #[test]
    fn proportions_sum_to_one_at_every_concentration() {
        for alpha in [f64::MIN_POSITIVE, 1e-9, 0.1, 1.0, 30.0, 1e12, f64::MAX] {
            let sum: f64 = divide(alpha, 10, 1).iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "α = {alpha:e} sums to {sum}");
        }
    }

    #[test]
    fn a_tiny_concentration_gives_all_to_one_and_each_in_turn() {
        let winner = |draw| {
            let parts = divide(1e-9, 4, draw);
            parts.iter().position(|part| *part > 0.999_999).unwrap()
        };
        let mut wins = [0_u32; 4];
        for draw in 0..1000 {
            wins[winner(draw)] += 1;
        }
        // Binomial(1000, 1/4) has a standard deviation of 13.7; this allows five of them.
        assert!(
            wins.iter().all(|count| count.abs_diff(250) < 69),
            "{wins:?}"
        );
    }

    #[test]
    fn parts_vary_as_the_dirichlet_distribution_says() {
        // Source: Var[x] = (1/k)(1 − 1/k) / (kα + 1) for a symmetric Dirichlet of k parts.
        for alpha in [0.1, 0.5, 1.0, 5.0] {
            let draws = 4000;
            let spread: f64 = (0..draws)
                .map(|draw| (divide(alpha, 5, draw)[0] - 0.2).powi(2))
                .sum::<f64>()
                / draws as f64;
            let expected = 0.2 * 0.8 / (5.0 * alpha + 1.0);
            assert!(
                (spread / expected - 1.0).abs() < 0.15,
                "α = {alpha}: {spread} is not {expected}"
            );
        }
    }
}
