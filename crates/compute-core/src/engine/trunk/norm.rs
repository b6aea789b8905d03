//! Layer norm.
//!
//! # Source
//!
//! Ba, Kiros and Hinton 2016, <https://arxiv.org/abs/1607.06450>; ε as in PyTorch's `LayerNorm`.

/// Keeps the division finite where all numbers of a row are equal.
const EPSILON: f32 = 1e-5;

/// Sums run over so many lanes, whatever the CPU's vectors hold, so that bits do not depend on it.
const LANES: usize = 16;

#[inline(always)]
fn sum(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = count - count % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    for index in whole..count {
        lanes[index - whole] += term(index);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

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
    let mean = sum(width, |i| x[i]) * share;
    let variance = sum(width, |i| (x[i] - mean) * (x[i] - mean)) * share;
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
    let plain = sum(width, |i| gradient[i] * weight[i]) * share;
    let along = sum(width, |i| gradient[i] * weight[i] * at(i)) * share;
    for i in 0..width {
        bias_sums[i] += gradient[i];
        weight_sums[i] += gradient[i] * at(i);
        let own = scale * (gradient[i] * weight[i] - plain - at(i) * along);
        below[i] = if add { below[i] + own } else { own };
    }
}
