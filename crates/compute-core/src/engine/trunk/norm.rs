//! Layer norm.
//!
//! # Source
//!
//! Ba, Kiros and Hinton 2016, <https://arxiv.org/abs/1607.06450>; ε as in PyTorch's `LayerNorm`.

use super::super::lanes::{sum, sum_of, sum_of_three};

/// Keeps the division finite where all numbers of a row are equal.
const EPSILON: f32 = 1e-5;

/// Normalises one row.
///
/// # Shapes
///
/// - `x`, `bias`, `weight`, `y`: `[width]`
/// - `moments`: the row's mean and 1 / √(variance + ε), to be filled in
#[inline(always)]
pub(super) fn forward(
    x: &[f32],
    (bias, weight): (&[f32], &[f32]),
    y: &mut [f32],
    moments: &mut [f32],
) {
    let width = x.len();
    let (bias, weight, y) = (&bias[..width], &weight[..width], &mut y[..width]);
    let share = 1.0 / width as f32;
    let mean = sum(x) * share;
    let variance = sum_of(
        x,
        x,
        #[inline(always)]
        |x, _| (x - mean) * (x - mean),
    ) * share;
    let scale = 1.0 / (variance + EPSILON).sqrt();
    for i in 0..width {
        y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
    }
    moments[0] = mean;
    moments[1] = scale;
}

/// The gradient at one row, from the gradient at what became of it.
///
/// # Shapes
///
/// As in [`forward`]; `sums` is `[width]` for the bias, then `[width]` for the weight, and is added
/// to; so is `below` where `add` says it, which is written to otherwise.
#[inline(always)]
pub(super) fn backward(
    x: &[f32],
    weight: &[f32],
    moments: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
    (below, add): (&mut [f32], bool),
) {
    let width = x.len();
    let (weight, gradient, below) = (&weight[..width], &gradient[..width], &mut below[..width]);
    let (mean, scale) = (moments[0], moments[1]);
    let share = 1.0 / width as f32;
    let (bias_sums, weight_sums) = sums.split_at_mut(width);
    let weight_sums = &mut weight_sums[..width];
    let at = |i: usize| (x[i] - mean) * scale;
    for i in 0..width {
        let (g, normal) = (gradient[i], at(i));
        bias_sums[i] += g;
        weight_sums[i] += g * normal;
    }
    let plain = sum_of(
        gradient,
        weight,
        #[inline(always)]
        |g, w| g * w,
    ) * share;
    let along = sum_of_three(
        gradient,
        weight,
        x,
        #[inline(always)]
        |g, w, x| g * w * ((x - mean) * scale),
    ) * share;
    for i in 0..width {
        let own = scale * (gradient[i] * weight[i] - plain - at(i) * along);
        below[i] = if add { below[i] + own } else { own };
    }
}
