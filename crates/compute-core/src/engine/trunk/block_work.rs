//! What layers do with all rows of a block.

use super::super::curve::Curve;
use super::super::lanes::{self, wide};
use super::super::matrix::Columns;
use super::attention::Attention;
use super::convolution::Convolution;
use super::norm;
use super::op::Flow;
use super::panels::{self, transpose};
use super::window::Window;

/// A convolution of every image of a block, group by group; `kept` is one stretch for each image.
pub(super) fn convolve(
    convolution: &Convolution,
    input: &[f32],
    (own, prepared): (&[f32], &[f32]),
    bench: &mut [f32],
    output: &mut [f32],
    kept: &mut [f32],
) {
    let (bias, _) = own.split_at(convolution.outputs);
    let (group, count) = (convolution.group(), input.len() / convolution.in_len());
    let images = input.chunks(group * convolution.in_len());
    let outs = output.chunks_mut(group * convolution.out_len());
    let kept_len = kept.len() / count.max(1);
    let mut kept = kept.chunks_mut((group * kept_len).max(1));
    let mut bench = convolution.bench(bench);
    for (images, out) in images.zip(outs) {
        let kept = kept.next().unwrap_or_default();
        convolution.forward(images, (bias, prepared), &mut bench, out, kept);
    }
}

/// A pool of every image of a block; `which` is one stretch for each.
pub(super) fn pool(window: Window, input: &[f32], output: &mut [f32], which: &mut [f32]) {
    let outs = output.chunks_exact_mut(window.out_len());
    let images = input.chunks_exact(input.len() / outs.len());
    let mut which = each(which, images.len());
    for (image, out) in images.zip(outs) {
        let which = which();
        wide(
            #[inline(always)]
            || window.pool(image, out, which),
        );
    }
}

pub(super) fn pool_back(
    window: Window,
    gradient: &[f32],
    which: &[f32],
    (below, is_added): (&mut [f32], bool),
) {
    if !is_added {
        below.fill(0.0);
    }
    let outs = gradient.chunks_exact(window.out_len());
    let image_len = below.len() / outs.len().max(1);
    let which_len = if window.largest { window.out_len() } else { 0 };
    let images = below.chunks_exact_mut(image_len);
    for (index, (out, image)) in outs.zip(images).enumerate() {
        let which = &which[index * which_len..][..which_len];
        wide(
            #[inline(always)]
            || window.spread(out, which, image),
        );
    }
}

/// A layer norm of every row of a block; `own` is the bias, then the weight.
pub(super) fn normalise(
    width: usize,
    input: &[f32],
    own: &[f32],
    output: &mut [f32],
    moments: &mut [f32],
) {
    let own = own.split_at(width);
    let mut rows = input
        .chunks_exact(width)
        .zip(output.chunks_exact_mut(width))
        .zip(moments.chunks_exact_mut(2));
    wide(
        #[inline(always)]
        || {
            for ((x, y), moments) in rows.by_ref() {
                norm::forward(x, own, y, moments);
            }
        },
    );
}

pub(super) fn normalise_back(
    input: &[f32],
    (weight, moments): (&[f32], &[f32]),
    gradient: &[f32],
    sums: &mut [f32],
    (below, is_added): (&mut [f32], bool),
) {
    let width = weight.len();
    let mut rows = input
        .chunks_exact(width)
        .zip(moments.chunks_exact(2))
        .zip(gradient.chunks_exact(width))
        .zip(below.chunks_exact_mut(width));
    wide(
        #[inline(always)]
        || {
            for (((x, moments), gradient), below) in rows.by_ref() {
                norm::backward(x, weight, moments, gradient, sums, (below, is_added));
            }
        },
    );
}

/// The attention of every sequence of a block; `map` is memory for one head.
pub(super) fn attend_back(
    attention: Attention,
    (input, weights): (&[f32], &[f32]),
    gradient: &[f32],
    (below, is_added): (&mut [f32], bool),
    map: &mut [f32],
) {
    let gradients = gradient.chunks_exact(attention.positions * attention.width);
    let row = input.len() / gradients.len().max(1);
    let maps = weights.chunks_exact(attention.weights_len());
    let rows = input.chunks_exact(row).zip(below.chunks_exact_mut(row));
    for (((input, below), gradient), maps) in rows.zip(gradients).zip(maps) {
        attention.backward(input, maps, gradient, (below, is_added), map);
    }
}

/// A linear layer of every row of a block, and the curve after it.
///
/// # Shapes
///
/// - `input`: `[rows, inputs]`; `prepared`: `[inputs, outputs]`, in panels; `bias`: `[outputs]`
/// - `output`: `[rows, outputs]`; `kept`: like it where the curve keeps its slopes, else empty
pub(super) fn bend_product(
    input: &[f32],
    (bias, prepared): (&[f32], &[f32]),
    (inputs, curve): (usize, &Curve),
    output: &mut [f32],
    kept: &mut [f32],
) {
    let outputs = bias.len();
    let kept_rows = kept.len() / outputs;
    let mut kept = Columns::new(kept, kept_rows, outputs);
    panels::multiply(
        input,
        prepared,
        (inputs, outputs),
        (output, false),
        |first, mut tile| {
            let columns = first..first + tile.num_columns();
            let bias = &bias[columns.clone()];
            wide(
                #[inline(always)]
                || {
                    for row in 0..tile.num_rows() {
                        let values = tile.row(row);
                        lanes::add(values, bias);
                        match row < kept_rows {
                            true => {
                                curve.bend_and_keep(values, &mut kept.row(row)[columns.clone()])
                            }
                            false => curve.bend(values),
                        }
                    }
                },
            );
        },
    );
}

/// Hands out one stretch of `values` for each of `count` rows.
fn each<'a>(values: &'a mut [f32], count: usize) -> impl FnMut() -> &'a mut [f32] {
    let width = values.len() / count.max(1);
    let mut rest = values;
    move || {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(width);
        rest = others;
        own
    }
}

/// `[rows, columns]` to `[columns, rows]`, image by image.
pub(super) fn turn(from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    let len = rows * columns;
    for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
        transpose(from, columns, to);
    }
}

/// `[channels, places]` to `[places, channels]`, image by image, or that much more.
pub(super) fn turn_back(
    from: &[f32],
    channels: usize,
    places: usize,
    (to, is_added): (&mut [f32], bool),
) {
    if !is_added {
        turn(from, channels, places, to);
        return;
    }
    let len = channels * places;
    for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
        for (channel, from) in from.chunks_exact(places).enumerate() {
            for (place, g) in from.iter().enumerate() {
                to[place * channels + channel] += g;
            }
        }
    }
}

pub(super) fn add(from: &[f32], to: &mut [f32]) {
    wide(
        #[inline(always)]
        || lanes::add(to, from),
    );
}

/// Writes a gradient, or adds it.
pub(super) fn pass(flow: Flow, from: &[f32], to: &mut [f32]) {
    match flow {
        Flow::Added => add(from, to),
        Flow::Fresh => to.copy_from_slice(from),
        Flow::None => {}
    }
}

/// Each token's vector and its position's.
///
/// # Shapes
///
/// - `tokens`: `[rows, context]`, whole numbers that were checked
/// - `own`: positions `[context, width]`, then tokens `[vocabulary, width]`
/// - `output`: `[rows, context, width]`
pub(super) fn embed(
    tokens: &[f32],
    own: &[f32],
    (width, context): (usize, usize),
    output: &mut [f32],
) {
    let (positions, vectors) = own.split_at(context * width);
    for (place, (token, y)) in tokens
        .iter()
        .zip(output.chunks_exact_mut(width))
        .enumerate()
    {
        let position = &positions[place % context * width..][..width];
        let vector = &vectors[token_index(*token) * width..][..width];
        for ((y, p), v) in y.iter_mut().zip(position).zip(vector) {
            *y = p + v;
        }
    }
}

/// A token as a place.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tokens are whole numbers below the vocabulary, checked at the border"
)]
pub(in super::super) fn token_index(token: f32) -> usize {
    token as usize
}
