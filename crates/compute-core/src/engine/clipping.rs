//! Gradients that are made no longer than a bound.
//!
//! # Source
//!
//! Pascanu, Mikolov and Bengio 2013, Algorithm 1, <https://arxiv.org/abs/1211.5063>.

use super::lanes::{LANES, wide};
use super::optimizer::{Part, Rule};
use super::pool::Pool;

/// Parameters whose squares are summed together: the sums are cut here whatever the number of
/// threads, and are added in this order.
const CHUNK: usize = 1 << 15;

/// Measures the gradient of a whole model, then moves its parameters.
pub(super) struct Clipping {
    /// The sum of squares of each chunk.
    squares: Vec<f64>,
}

impl Clipping {
    pub(super) fn new(num_parameters: usize) -> Self {
        Self {
            squares: vec![0.0; num_parameters.div_ceil(CHUNK)],
        }
    }

    /// Moves all parameters by `rule` along their gradient, made at most `norm` long.
    pub(super) fn step(&mut self, pool: &mut Pool, mut all: Part<'_>, norm: f32, rule: Rule) {
        let chunks = all.gradient.chunks(CHUNK).zip(&mut self.squares);
        pool.each(chunks, |(gradient, sum)| {
            *sum = wide(
                #[inline(always)]
                || squares(gradient),
            );
        });
        let length = self.squares.iter().sum::<f64>().sqrt();
        let norm = f64::from(norm);
        let scale = if length > norm { norm / length } else { 1.0 };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a factor between 0 and 1 needs no more digits than what it scales"
        )]
        let scale = scale as f32;
        let chunks = (0..self.squares.len()).map(|_| all.split_off(CHUNK));
        pool.each(chunks, |mut part| {
            wide(
                #[inline(always)]
                || {
                    part.gradient.iter_mut().for_each(|g| *g *= scale);
                    rule.apply(&mut part);
                },
            );
        });
    }
}

/// The sum of the squares of `values`.
#[inline(always)]
fn squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(chunk[lane]) * f64::from(chunk[lane]);
        }
    }
    for (sum, x) in lanes.iter_mut().zip(rest) {
        *sum += f64::from(*x) * f64::from(*x);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    /// Moves zeros by a descent of rate 1 along `gradient`.
    fn moved(gradient: &mut [f32], norm: f32) -> Vec<f32> {
        let mut values = vec![0.0; gradient.len()];
        let rule = Rule::Descent {
            learning_rate: 1.0,
            decay: 0.0,
        };
        Clipping::new(gradient.len()).step(
            &mut Pool::new(NonZeroUsize::MIN),
            Part {
                values: &mut values,
                gradient,
                first: &mut [],
                second: &mut [],
            },
            norm,
            rule,
        );
        values
    }

    #[test]
    fn a_long_gradient_is_made_as_long_as_the_bound() {
        assert_eq!(moved(&mut [3.0, 4.0], 1.0), [-0.6, -0.8]);
        assert_eq!(moved(&mut [3.0, 4.0], 6.0), [-3.0, -4.0]);
    }

    #[test]
    fn the_length_is_that_of_all_chunks() {
        let values = moved(&mut vec![1.0; 4 * CHUNK], 256.0);
        // √(4 · 2¹⁵) is 256 √2.
        assert!((values[4 * CHUNK - 1] + 1.0 / 2.0_f32.sqrt()).abs() < 1e-6);
    }
}
