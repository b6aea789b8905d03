//! One layer of a trunk, forward and backward over a block of rows.

use super::super::curve::Curve;
use super::super::lanes::{self, wide};
use super::super::sheets::Block;
use super::attention::Attention;
use super::block_work::{
    attend_back, bend_product, convolve, embed, normalise, normalise_back, pass, pool, pool_back,
    turn, turn_back,
};
use super::convolution::Convolution;
use super::panels::{self, lay_out, lay_out_transposed};
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
    /// Nobody learns from it, or it stands there already.
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
            } => lay_out_both(&own[*outputs..], *inputs, prepared),
            Kind::Convolution(convolution) => {
                convolution.prepare(&own[convolution.outputs..], prepared);
            }
            Kind::TiedHead {
                width,
                vocabulary,
                start,
            } => lay_out_both(
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
                let (down, _) = prepared.split_at(inputs * outputs);
                let weights = (&own[..*outputs], down);
                bend_product(input, weights, (*inputs, curve), output, kept);
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
            } => {
                let (down, _) = prepared.split_at(width * vocabulary);
                let shape = (*width, *vocabulary);
                panels::multiply(input, down, shape, (output, false), |_, _| ());
            }
            Kind::Join { .. } => {}
        }
    }

    fn join(&self, block: &mut Forward<'_>, kept: usize) {
        let sources = [self.input, kept];
        let ([input, kept], output) = block.values.triple(sources, self.output);
        wide(
            #[inline(always)]
            || {
                lanes::zip_two(
                    output,
                    input,
                    kept,
                    #[inline(always)]
                    |sum, one, other| *sum = one + other,
                );
            },
        );
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
            }
            | Kind::TiedHead {
                width: inputs,
                vocabulary: outputs,
                ..
            } => {
                let prepared = &weights.prepared[self.prepared..][..self.prepared_len];
                let (_, up) = prepared.split_at(inputs * outputs);
                let shape = (*outputs, *inputs);
                panels::multiply(gradient, up, shape, (below, is_added), |_, _| ());
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
        for (value, flow) in [(kept, flow), (self.input, self.flow)] {
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
        for row in (0..rows).step_by(convolution.group()) {
            let count = convolution.group().min(rows - row);
            let images = &block.values.get(self.input)[row * in_len..][..count * in_len];
            let kept = &kept[row * kept_len..][..count * kept_len];
            let seen = match convolution.curve.keeps_input() {
                true => kept,
                false => &output[row * out_len..][..count * out_len],
            };
            let (gradient, below) = match target {
                Some(slot) => {
                    let (gradient, below) = block.gradients.pair_mut(own_slot, slot);
                    let below = &mut below[row * in_len..][..count * in_len];
                    if self.flow == Flow::Fresh {
                        below.fill(0.0);
                    }
                    (gradient, Some(below))
                }
                None => (block.gradients.get_mut(own_slot), None),
            };
            let gradient = &mut gradient[row * out_len..][..count * out_len];
            convolution.backward(
                images,
                prepared,
                &mut bench,
                (gradient, seen, kept),
                sums,
                below,
            );
        }
    }
}

/// Lays a weight `[_, inputs]` out as the product forward reads it, then as the one backward does.
fn lay_out_both(weight: &[f32], inputs: usize, prepared: &mut [f32]) {
    let (down, up) = prepared.split_at_mut(weight.len());
    lay_out_transposed(weight, inputs, down);
    lay_out(weight, inputs, up);
}
