//! One layer of a trunk, forward and backward over a block of rows.

use super::super::curve::Curve;
use super::super::lanes::{self, wide};
use super::super::matrix::{Columns, Matrix};
use super::super::sheets::Block;
use super::attention::Attention;
use super::convolution::Convolution;
use super::norm;
use super::window::Window;

/// A layer, and where its numbers stand.
pub(super) struct Op {
    pub(super) kind: Kind,
    /// The value it reads.
    pub(super) input: usize,
    /// The value it yields.
    pub(super) output: usize,
    /// The sheet of what it leaves for the backward pass.
    pub(super) kept: Option<usize>,
    /// Where its parameters begin, and how many there are.
    pub(super) start: usize,
    pub(super) len: usize,
    /// Where its weights begin as products read them, and how many there are.
    pub(super) prepared: usize,
    pub(super) prepared_len: usize,
    /// Where its sums over a block begin, and how many there are.
    pub(super) sums: usize,
    pub(super) sums_len: usize,
    /// How it passes the gradient on to its input.
    pub(super) flow: Flow,
}

/// How a layer passes a gradient on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nobody learns from it.
    None,
    /// It is the first to write it.
    Fresh,
    /// It adds to what layers after it wrote.
    Added,
}

/// What a layer does.
pub(super) enum Kind {
    /// Also over each position of a sequence.
    Linear {
        inputs: usize,
        outputs: usize,
        curve: Curve,
    },
    Curve(Curve),
    /// `[channels, places]` to `[places, channels]`.
    Image {
        channels: usize,
        places: usize,
    },
    /// `[places, channels]` to `[channels, places]`.
    Flatten {
        channels: usize,
        places: usize,
    },
    Convolution(Convolution),
    Pool(Window),
    Embedding {
        width: usize,
        context: usize,
    },
    Norm {
        width: usize,
    },
    Attention(Attention),
    Join {
        kept: usize,
        flow: Flow,
    },
    TiedHead {
        width: usize,
        vocabulary: usize,
        /// Where the token vectors begin in the parameters.
        start: usize,
    },
}

/// What a block of rows passes forward through.
pub(super) struct Forward<'a> {
    pub(super) values: Block<'a>,
    pub(super) kept: Block<'a>,
    pub(super) bench: &'a mut [f32],
}

/// What a block of rows passes backward through.
pub(super) struct Backward<'a> {
    pub(super) values: Block<'a>,
    pub(super) kept: Block<'a>,
    pub(super) gradients: Block<'a>,
    pub(super) bench: &'a mut [f32],
    /// What is summed over the block.
    pub(super) sums: &'a mut [f32],
    /// The sheet of each value's gradient.
    pub(super) slots: &'a [Option<usize>],
}

/// The parameters, and the weights among them as products read them.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) parameters: &'a [f32],
    pub(super) prepared: &'a [f32],
}

impl Op {
    /// Whether the gradient at what it yields is summed over all rows after the backward pass.
    pub(super) fn reads_gradient_later(&self) -> bool {
        matches!(
            self.kind,
            Kind::Linear { .. } | Kind::Embedding { .. } | Kind::TiedHead { .. }
        )
    }

    /// Lays the weights out as products read them.
    pub(super) fn prepare(&self, parameters: &[f32], prepared: &mut [f32]) {
        let own = &parameters[self.start..][..self.len];
        match &self.kind {
            Kind::Linear {
                inputs, outputs, ..
            } => transpose(&own[*outputs..], *inputs, prepared),
            Kind::Convolution(convolution) => {
                convolution.prepare(&own[convolution.outputs..], prepared);
            }
            Kind::TiedHead {
                width,
                vocabulary,
                start,
            } => transpose(
                &parameters[*start..][..width * vocabulary],
                *width,
                prepared,
            ),
            _ => {}
        }
    }

    /// Takes a block from the layer's input to what it yields.
    pub(super) fn forward(&self, block: &mut Forward<'_>, weights: Weights<'_>) {
        let own = &weights.parameters[self.start..][..self.len];
        let prepared = &weights.prepared[self.prepared..][..self.prepared_len];
        if let Kind::Join { kept, .. } = self.kind {
            self.join(block, kept);
            return;
        }
        let (input, output) = block.values.pair(self.input, self.output);
        let kept = match self.kept {
            Some(sheet) => block.kept.get_mut(sheet),
            None => &mut [],
        };
        match &self.kind {
            Kind::Linear {
                inputs,
                outputs,
                curve,
            } => {
                multiply(input, prepared, (*inputs, *outputs), output);
                wide(
                    #[inline(always)]
                    || {
                        for row in output.chunks_exact_mut(*outputs) {
                            lanes::add(row, &own[..*outputs]);
                        }
                        if curve.keeps_input() {
                            curve.bend_and_keep(output, kept);
                        } else {
                            curve.bend(output);
                        }
                    },
                );
            }
            Kind::Curve(curve) => {
                output.copy_from_slice(input);
                wide(
                    #[inline(always)]
                    || curve.bend(output),
                );
            }
            Kind::Image { channels, places } => turn(input, *channels, *places, output),
            Kind::Flatten { channels, places } => turn(input, *places, *channels, output),
            Kind::Convolution(convolution) => {
                convolve(
                    convolution,
                    input,
                    (own, prepared),
                    block.bench,
                    output,
                    kept,
                );
            }
            Kind::Pool(window) => pool(*window, input, output, kept),
            Kind::Embedding { width, context } => embed(input, own, (*width, *context), output),
            Kind::Norm { width } => normalise(*width, input, own, output, kept),
            Kind::Attention(attention) => {
                let outs = output.chunks_exact_mut(attention.positions * attention.width);
                let inputs = input.chunks_exact(input.len() / outs.len());
                let maps = kept.chunks_exact_mut(attention.weights_len());
                for ((input, out), maps) in inputs.zip(outs).zip(maps) {
                    attention.forward(input, out, maps);
                }
            }
            Kind::TiedHead {
                width, vocabulary, ..
            } => multiply(input, prepared, (*width, *vocabulary), output),
            Kind::Join { .. } => {}
        }
    }

    fn join(&self, block: &mut Forward<'_>, kept: usize) {
        let (input, output) = block.values.pair(self.input, self.output);
        output.copy_from_slice(input);
        let (kept, output) = block.values.pair(kept, self.output);
        add(kept, output);
    }

    /// Takes a block's gradient from what the layer yields to its input.
    pub(super) fn backward(&self, block: &mut Backward<'_>, weights: Weights<'_>) {
        let Some(own_slot) = block.slots[self.output] else {
            return;
        };
        if let Kind::Join { kept, flow } = self.kind {
            self.split(block, own_slot, (kept, flow));
            return;
        }
        self.bend_back(block, own_slot);
        if let Kind::Convolution(convolution) = &self.kind {
            self.convolve_back(convolution, block, weights, own_slot);
            return;
        }
        let (Some(slot), true) = (block.slots[self.input], self.flow != Flow::None) else {
            return;
        };
        let (gradient, below) = block.gradients.pair(own_slot, slot);
        let input = block.values.get(self.input);
        let kept = self.kept.map_or(&[][..], |sheet| block.kept.get(sheet));
        let is_added = self.flow == Flow::Added;
        let own = &weights.parameters[self.start..][..self.len];
        match &self.kind {
            Kind::Linear {
                inputs, outputs, ..
            } => multiply_back(
                gradient,
                &own[*outputs..],
                (*inputs, *outputs),
                (below, is_added),
            ),
            Kind::TiedHead {
                width,
                vocabulary,
                start,
            } => {
                let tokens = &weights.parameters[*start..][..width * vocabulary];
                multiply_back(gradient, tokens, (*width, *vocabulary), (below, is_added));
            }
            Kind::Curve(curve) => {
                let seen = match curve.keeps_input() {
                    true => input,
                    false => block.values.get(self.output),
                };
                // Its own gradient is read by nobody else, so it is bent where it stands.
                let (gradient, below) = block.gradients.pair_mut(own_slot, slot);
                wide(
                    #[inline(always)]
                    || curve.chain(seen, gradient),
                );
                pass(self.flow, gradient, below);
            }
            Kind::Flatten { channels, places } => {
                turn_back(gradient, *channels, *places, (below, is_added));
            }
            Kind::Pool(window) => pool_back(*window, gradient, kept, (below, is_added)),
            Kind::Norm { width } => {
                let sums = &mut block.sums[self.sums..][..self.sums_len];
                let moments = (&own[*width..], kept);
                normalise_back(input, moments, gradient, sums, (below, is_added));
            }
            Kind::Attention(attention) => {
                let map = &mut block.bench[..attention.map_len()];
                attend_back(*attention, (input, kept), gradient, (below, is_added), map);
            }
            Kind::Image { .. }
            | Kind::Embedding { .. }
            | Kind::Convolution(_)
            | Kind::Join { .. } => {}
        }
    }

    /// Passes the gradient of a sum on to both that were added.
    fn split(&self, block: &mut Backward<'_>, own_slot: usize, (kept, flow): (usize, Flow)) {
        for (value, flow) in [(self.input, self.flow), (kept, flow)] {
            if let (Some(slot), true) = (block.slots[value], flow != Flow::None) {
                let (from, to) = block.gradients.pair(own_slot, slot);
                pass(flow, from, to);
            }
        }
    }

    /// Takes the gradient of a linear layer below its curve.
    fn bend_back(&self, block: &mut Backward<'_>, own_slot: usize) {
        let Kind::Linear { curve, .. } = &self.kind else {
            return;
        };
        let seen = match self.kept {
            Some(sheet) if curve.keeps_input() => block.kept.get(sheet),
            _ => block.values.get(self.output),
        };
        let gradient = block.gradients.get_mut(own_slot);
        wide(
            #[inline(always)]
            || curve.chain_kept(seen, gradient),
        );
    }

    fn convolve_back(
        &self,
        convolution: &Convolution,
        block: &mut Backward<'_>,
        weights: Weights<'_>,
        own_slot: usize,
    ) {
        let prepared = &weights.prepared[self.prepared..][..self.prepared_len];
        let sums = &mut block.sums[self.sums..][..self.sums_len];
        let mut bench = convolution.bench(block.bench);
        let (in_len, out_len) = (convolution.in_len(), convolution.out_len());
        let rows = block.values.count();
        let kept = self.kept.map_or(&[][..], |sheet| block.kept.get(sheet));
        let kept_len = kept.len() / rows.max(1);
        let output = block.values.get(self.output);
        let target = match self.flow {
            Flow::None => None,
            Flow::Fresh | Flow::Added => block.slots[self.input],
        };
        for row in 0..rows {
            let image = &block.values.get(self.input)[row * in_len..][..in_len];
            let kept = &kept[row * kept_len..][..kept_len];
            let seen = match convolution.curve.keeps_input() {
                true => kept,
                false => &output[row * out_len..][..out_len],
            };
            let (gradient, below) = match target {
                Some(slot) => {
                    let (gradient, below) = block.gradients.pair_mut(own_slot, slot);
                    let below = &mut below[row * in_len..][..in_len];
                    if self.flow == Flow::Fresh {
                        below.fill(0.0);
                    }
                    (gradient, Some(below))
                }
                None => (block.gradients.get_mut(own_slot), None),
            };
            let gradient = &mut gradient[row * out_len..][..out_len];
            convolution.backward(
                image,
                prepared,
                &mut bench,
                (gradient, seen, kept),
                sums,
                below,
            );
        }
    }
}

/// A convolution of every image of a block; `kept` is one stretch for each.
fn convolve(
    convolution: &Convolution,
    input: &[f32],
    (own, prepared): (&[f32], &[f32]),
    bench: &mut [f32],
    output: &mut [f32],
    kept: &mut [f32],
) {
    let (bias, _) = own.split_at(convolution.outputs);
    let images = input.chunks_exact(convolution.in_len());
    let outs = output.chunks_exact_mut(convolution.out_len());
    let mut kept = each(kept, images.len());
    let mut bench = convolution.bench(bench);
    for (image, out) in images.zip(outs) {
        convolution.forward(image, (bias, prepared), &mut bench, out, kept());
    }
}

/// A pool of every image of a block; `which` is one stretch for each.
fn pool(window: Window, input: &[f32], output: &mut [f32], which: &mut [f32]) {
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

fn pool_back(
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
fn normalise(width: usize, input: &[f32], own: &[f32], output: &mut [f32], moments: &mut [f32]) {
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

fn normalise_back(
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
fn attend_back(
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

/// `output = input · prepared`, row by row.
///
/// # Shapes
///
/// - `input`: `[rows, inputs]`; `prepared`: `[inputs, outputs]`; `output`: `[rows, outputs]`
fn multiply(
    input: &[f32],
    prepared: &[f32],
    (inputs, outputs): (usize, usize),
    output: &mut [f32],
) {
    let rows = input.len() / inputs;
    Columns::new(output, rows, outputs).product(
        Matrix::new(input, rows, inputs),
        Matrix::new(prepared, inputs, outputs),
    );
}

/// `below = gradient · weight`, or that much more.
///
/// # Shapes
///
/// - `gradient`: `[rows, outputs]`; `weight`: `[outputs, inputs]`; `below`: `[rows, inputs]`
fn multiply_back(
    gradient: &[f32],
    weight: &[f32],
    (inputs, outputs): (usize, usize),
    (below, is_added): (&mut [f32], bool),
) {
    let rows = gradient.len() / outputs;
    let gradient = Matrix::new(gradient, rows, outputs);
    let weight = Matrix::new(weight, outputs, inputs);
    let mut below = Columns::new(below, rows, inputs);
    match is_added {
        true => below.add_product(gradient, weight),
        false => below.product(gradient, weight),
    }
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
fn turn(from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    let len = rows * columns;
    for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
        transpose(from, columns, to);
    }
}

/// `[channels, places]` to `[places, channels]`, image by image, or that much more.
fn turn_back(from: &[f32], channels: usize, places: usize, (to, is_added): (&mut [f32], bool)) {
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

/// Rows of a matrix that are turned together: a cache line of the other one.
const TURNED_TOGETHER: usize = 16;

/// `[_, columns]` to `[columns, _]`.
fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    for first in (0..rows).step_by(TURNED_TOGETHER) {
        let count = TURNED_TOGETHER.min(rows - first);
        for column in 0..columns {
            let to = &mut to[column * rows + first..][..count];
            for (row, to) in to.iter_mut().enumerate() {
                *to = from[(first + row) * columns + column];
            }
        }
    }
}

fn add(from: &[f32], to: &mut [f32]) {
    wide(
        #[inline(always)]
        || lanes::add(to, from),
    );
}

/// Writes a gradient, or adds it.
fn pass(flow: Flow, from: &[f32], to: &mut [f32]) {
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
fn embed(tokens: &[f32], own: &[f32], (width, context): (usize, usize), output: &mut [f32]) {
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
