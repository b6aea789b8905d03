//! Element-wise loops over rows that may be short.
//!
//! A compiler that vectorises a loop of unknown length takes four vectors at a time, and leaves rows
//! of 16 to 63 numbers to its scalar tail. These loops go by 16 numbers, whose number is known, and
//! read all 16 before they write one: a compiler that cannot tell two slices apart would otherwise
//! take them one by one.

use pulp::{Arch, Simd, WithSimd};

/// Numbers that are taken together: one vector of AVX-512, two of AVX2.
pub(super) const LANES: usize = 16;

/// Does `work` with the widest vectors that the CPU has, if it is marked `#[inline(always)]`.
///
/// `pulp` calls closures by value, through a shim of the compiler's that is never inlined where the
/// closure could be called again: the work would then be done with the vectors of the oldest CPU.
/// Calling it by reference avoids the shim.
#[inline(always)]
pub(super) fn wide<R>(work: impl FnMut() -> R) -> R {
    struct Wide<F>(F);
    impl<R, F: FnMut() -> R> WithSimd for Wide<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Wide(work))
}

/// Adds `from` to `to`, number by number.
#[inline(always)]
pub(super) fn add(to: &mut [f32], from: &[f32]) {
    zip(
        to,
        from,
        #[inline(always)]
        |to, from| *to += from,
    );
}

/// Changes each number.
#[inline(always)]
pub(super) fn each(values: &mut [f32], change: impl Fn(&mut f32)) {
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        chunk.iter_mut().for_each(&change);
    }
    rest.iter_mut().for_each(change);
}

/// Changes each number of `to` by its neighbour in `from`.
#[inline(always)]
pub(super) fn zip(to: &mut [f32], from: &[f32], change: impl Fn(&mut f32, f32)) {
    let (tos, to_rest) = to.as_chunks_mut::<LANES>();
    let (froms, from_rest) = from.as_chunks::<LANES>();
    for (to, from) in tos.iter_mut().zip(froms) {
        let (mut own, from) = (*to, *from);
        for lane in 0..LANES {
            change(&mut own[lane], from[lane]);
        }
        *to = own;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        change(to, *from);
    }
}

/// Changes each number of `to` by its neighbours in `one` and `other`.
#[inline(always)]
pub(super) fn zip_two(
    to: &mut [f32],
    one: &[f32],
    other: &[f32],
    change: impl Fn(&mut f32, f32, f32),
) {
    let (tos, to_rest) = to.as_chunks_mut::<LANES>();
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    for ((to, one), other) in tos.iter_mut().zip(ones).zip(others) {
        let (mut own, one, other) = (*to, *one, *other);
        for lane in 0..LANES {
            change(&mut own[lane], one[lane], other[lane]);
        }
        *to = own;
    }
    for ((to, one), other) in to_rest.iter_mut().zip(one_rest).zip(other_rest) {
        change(to, *one, *other);
    }
}

/// Changes each number of `one` and of `two` together by their neighbour in `from`.
#[inline(always)]
pub(super) fn zip_into_two(
    one: &mut [f32],
    two: &mut [f32],
    from: &[f32],
    change: impl Fn(&mut f32, &mut f32, f32),
) {
    let (ones, one_rest) = one.as_chunks_mut::<LANES>();
    let (twos, two_rest) = two.as_chunks_mut::<LANES>();
    let (froms, from_rest) = from.as_chunks::<LANES>();
    for ((one, two), from) in ones.iter_mut().zip(twos).zip(froms) {
        let (mut first, mut second, from) = (*one, *two, *from);
        for lane in 0..LANES {
            change(&mut first[lane], &mut second[lane], from[lane]);
        }
        (*one, *two) = (first, second);
    }
    for ((one, two), from) in one_rest.iter_mut().zip(two_rest).zip(from_rest) {
        change(one, two, *from);
    }
}

/// The largest of all numbers that are numbers.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    let whole = lanes.into_iter().fold(f32::NEG_INFINITY, larger);
    rest.iter().copied().fold(whole, larger)
}

/// `x` where it is larger than `best`. Unlike `f32::max` it is one instruction.
#[inline(always)]
fn larger(best: f32, x: f32) -> f32 {
    if x > best { x } else { best }
}

/// The sum of all numbers, over as many lanes whatever the CPU's vectors hold, so that bits do not
/// depend on it.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(sum, x)| *sum += x);
    fold(lanes)
}

/// The sum of `term` of all pairs of numbers, likewise.
#[inline(always)]
pub(super) fn sum_of(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (lefts, left_rest) = left.as_chunks::<LANES>();
    let (rights, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in lefts.iter().zip(rights) {
        for lane in 0..LANES {
            lanes[lane] += term(left[lane], right[lane]);
        }
    }
    for ((sum, left), right) in lanes.iter_mut().zip(left_rest).zip(right_rest) {
        *sum += term(*left, *right);
    }
    fold(lanes)
}

/// The sum of `term` of all triples of numbers, likewise.
#[inline(always)]
pub(super) fn sum_of_three(
    one: &[f32],
    two: &[f32],
    three: &[f32],
    term: impl Fn(f32, f32, f32) -> f32,
) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (twos, two_rest) = two.as_chunks::<LANES>();
    let (threes, three_rest) = three.as_chunks::<LANES>();
    for ((one, two), three) in ones.iter().zip(twos).zip(threes) {
        for lane in 0..LANES {
            lanes[lane] += term(one[lane], two[lane], three[lane]);
        }
    }
    let rest = one_rest.iter().zip(two_rest).zip(three_rest);
    for (sum, ((one, two), three)) in lanes.iter_mut().zip(rest) {
        *sum += term(*one, *two, *three);
    }
    fold(lanes)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_length_are_added_and_summed() {
        for len in 0..50_u8 {
            let ones = vec![1.0; usize::from(len)];
            let mut numbers: Vec<f32> = (0..len).map(f32::from).collect();
            add(&mut numbers, &ones);
            let expected: Vec<f32> = (1..=len).map(f32::from).collect();
            assert_eq!(numbers, expected);
            let whole = f32::from(len) * (f32::from(len) + 1.0) / 2.0;
            assert!((sum(&numbers) - whole).abs() < 1e-3);
            assert!(
                (sum_of(
                    &numbers,
                    &ones,
                    #[inline(always)]
                    |a, b| a * b
                ) - whole)
                    .abs()
                    < 1e-3
            );
        }
    }

    #[test]
    fn the_largest_is_found_wherever_it_stands_and_is_never_nan() {
        for len in 1..50 {
            for place in 0..len {
                let mut numbers = vec![-3.0_f32; len];
                numbers[len - 1 - place] = f32::NAN;
                numbers[place] = -2.0;
                assert_eq!(largest(&numbers).to_bits(), (-2.0_f32).to_bits());
            }
        }
    }
}
