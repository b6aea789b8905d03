//! Sums in f64 over several updates at a time, with the widest vectors that the processor has.
//!
//! Each number is multiplied, added and divided as IEEE 754 says, in the order of the terms, so
//! neither the width of the vectors nor the grouping changes a bit.

use pulp::{Arch, Simd, WithSimd};

/// Updates that are added in one pass over the sums. More of them save passes and need more of the
/// caches.
pub(crate) const TOGETHER: usize = 4;

/// Squares that are summed side by side, so that one addition does not wait for the other.
const LANES: usize = 16;

/// Adds each weight times its numbers to `sums`, in the order of `terms`.
///
/// # Shapes
///
/// - `sums`: `[n]`
/// - `terms`: at most [`TOGETHER`], of `[n]` each
pub(crate) fn add(sums: &mut [f64], terms: &[(&[f32], f64)]) {
    match *terms {
        [a] => dispatch(Add { sums, terms: [a] }),
        [a, b] => dispatch(Add {
            sums,
            terms: [a, b],
        }),
        [a, b, c] => dispatch(Add {
            sums,
            terms: [a, b, c],
        }),
        [a, b, c, d] => dispatch(Add {
            sums,
            terms: [a, b, c, d],
        }),
        _ => debug_assert!(terms.is_empty(), "at most {TOGETHER} terms"),
    }
}

/// Adds `sums / total` to `params`, rounded once; gives Σ of the squares of what was added.
///
/// # Shapes
///
/// - `params`: `[n]`
/// - `sums`: `[n]`
pub(crate) fn apply(params: &mut [f32], sums: &[f64], total: f64) -> f64 {
    dispatch(Apply {
        params,
        sums,
        total,
    })
}

/// Σ of the squares of `numbers`, `[n]`, in an order that depends on nothing but their count.
#[must_use]
pub fn sum_of_squares(numbers: &[f32]) -> f64 {
    dispatch(Squares { numbers })
}

fn dispatch<W: WithSimd>(work: W) -> W::Output {
    Arch::new().dispatch(work)
}

struct Add<'a, const N: usize> {
    sums: &'a mut [f64],
    terms: [(&'a [f32], f64); N],
}

impl<const N: usize> WithSimd for Add<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let len = self.sums.len();
        let numbers = self.terms.map(|(numbers, _)| &numbers[..len]);
        let weights = self.terms.map(|(_, weight)| weight);
        for (index, sum) in self.sums.iter_mut().enumerate() {
            let mut total = *sum;
            for term in 0..N {
                total += weights[term] * f64::from(numbers[term][index]);
            }
            *sum = total;
        }
    }
}

struct Apply<'a> {
    params: &'a mut [f32],
    sums: &'a [f64],
    total: f64,
}

impl WithSimd for Apply<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut squares = [0.0; LANES];
        let (params, params_rest) = self.params.as_chunks_mut::<LANES>();
        let (sums, sums_rest) = self.sums.as_chunks::<LANES>();
        for (params, sums) in params.iter_mut().zip(sums) {
            for lane in 0..LANES {
                squares[lane] += step(&mut params[lane], sums[lane], self.total);
            }
        }
        let rest = params_rest.iter_mut().zip(sums_rest).zip(&mut squares);
        for ((param, sum), square) in rest {
            *square += step(param, *sum, self.total);
        }
        squares.iter().sum()
    }
}

/// Moves one parameter; gives the square of how far.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is what a model's parameters are; what is beyond its range becomes \
              infinite, and is refused then"
)]
#[inline(always)]
fn step(param: &mut f32, sum: f64, total: f64) -> f64 {
    let delta = sum / total;
    *param = (f64::from(*param) + delta) as f32;
    delta * delta
}

struct Squares<'a> {
    numbers: &'a [f32],
}

impl WithSimd for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut squares = [0.0; LANES];
        let (rows, rest) = self.numbers.as_chunks::<LANES>();
        for row in rows {
            for lane in 0..LANES {
                let number = f64::from(row[lane]);
                squares[lane] += number * number;
            }
        }
        for (square, number) in squares.iter_mut().zip(rest) {
            *square += f64::from(*number).powi(2);
        }
        squares.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_count_of_terms_is_added_in_their_order() {
        let numbers: Vec<f32> = (0..100_u8).map(|n| f32::from(n) / 7.0).collect();
        for count in 1..=TOGETHER {
            let weights = [3.1, 1e9, 0.2, 7.7];
            let terms: Vec<_> = weights[..count]
                .iter()
                .map(|weight| (&numbers[..], *weight))
                .collect();
            let (mut sums, mut expected) = (vec![0.5; 100], vec![0.5; 100]);
            add(&mut sums, &terms);
            for (numbers, weight) in terms {
                for (sum, number) in expected.iter_mut().zip(numbers) {
                    *sum += weight * f64::from(*number);
                }
            }
            assert_eq!(bits(&sums), bits(&expected));
        }
    }

    #[test]
    fn the_squares_of_any_count_of_numbers_are_summed() {
        // 0² + 1² + … + 18² = 2109, exactly.
        let numbers: Vec<f32> = (0..19_u8).map(f32::from).collect();
        assert_eq!(sum_of_squares(&numbers).to_bits(), 2109.0_f64.to_bits());
    }

    fn bits(numbers: &[f64]) -> Vec<u64> {
        numbers.iter().map(|number| number.to_bits()).collect()
    }
}
