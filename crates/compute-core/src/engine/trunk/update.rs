//! The gradients of a trunk's parameters, summed over all rows, and the step they are for.

use super::super::backward::update;
use super::super::lanes::{self, wide};
use super::super::matrix::{Columns, Matrix};
use super::super::network::tile;
use super::super::optimizer::{Part, Rule};
use super::Trunk;
use super::block_work::token_index;
use super::held::Known;
use super::op::{Kind, Op};

/// Some of a layer's parameters.
pub(in super::super) struct Update<'a> {
    op: &'a Op,
    /// The first of the outputs.
    first: usize,
    /// Empty except for a linear layer, of which these are some outputs.
    bias: Part<'a>,
    rest: Part<'a>,
}

/// The parameters of all layers, those of linear layers tile by tile of their outputs.
pub(in super::super) fn update_tasks<'a>(
    trunk: &'a Trunk,
    mut parts: Part<'a>,
    rows: usize,
) -> impl Iterator<Item = Update<'a>> + Send {
    let owners = trunk.ops.iter().filter(|op| op.len > 0);
    owners.flat_map(move |op| {
        let mut own = parts.split_off(op.len);
        let (inputs, outputs, width) = match op.kind {
            Kind::Linear {
                inputs, outputs, ..
            } => {
                let rows = rows * trunk.rows_of(op);
                (inputs, outputs, tile(outputs, rows * inputs))
            }
            _ => (0, 1, 1),
        };
        let biases = if inputs > 0 { outputs } else { 0 };
        let mut bias = own.split_off(biases);
        (0..outputs).step_by(width).map(move |first| {
            let count = width.min(outputs - first);
            let (biases, rest) = match inputs {
                0 => (0, usize::MAX),
                _ => (count, count * inputs),
            };
            Update {
                op,
                first,
                bias: bias.split_off(biases),
                rest: own.split_off(rest),
            }
        })
    })
}

impl Trunk {
    /// Rows of a linear layer for one row of a batch.
    fn rows_of(&self, op: &Op) -> usize {
        match op.kind {
            Kind::Linear { outputs, .. } => self.values[op.output] / outputs,
            _ => 1,
        }
    }
}

impl Update<'_> {
    /// Sums the gradient, then moves the parameters.
    ///
    /// `bench` is memory for the gradient of a weight, as in [`update`].
    pub(in super::super) fn run(self, known: Known<'_>, bench: &mut [f32], rule: Rule) {
        let Self {
            op,
            first,
            bias,
            mut rest,
        } = self;
        match &op.kind {
            Kind::Linear {
                inputs, outputs, ..
            } => {
                let (input, gradient) = (known.value(op.input), known.gradient(op.output));
                let rows = gradient.len() / outputs;
                let gradient = Matrix::new(gradient, rows, *outputs);
                let gradient = gradient.columns(first, bias.values.len());
                update(
                    gradient,
                    Matrix::new(input, rows, *inputs),
                    bias,
                    rest,
                    (bench, rule),
                );
                return;
            }
            Kind::Convolution(convolution) => {
                let (bias, weight) = rest.gradient.split_at_mut(convolution.outputs);
                bias.fill(0.0);
                weight.fill(0.0);
                for sums in known.sums(op) {
                    add(&sums[..convolution.outputs], bias);
                }
                let sums = known.sums(op);
                convolution.restore(sums.map(|sums| &sums[convolution.outputs..]), weight);
            }
            Kind::Norm { .. } => {
                rest.gradient.fill(0.0);
                for sums in known.sums(op) {
                    add(sums, rest.gradient);
                }
            }
            Kind::Embedding { width, context } => {
                known.embedding(op, (*width, *context), rest.gradient);
            }
            _ => return,
        }
        wide(
            #[inline(always)]
            || rule.apply(&mut rest),
        );
    }
}

impl Known<'_> {
    /// The gradient of token vectors and positions, row after row; where a head is tied to the
    /// vectors, that head's comes first.
    fn embedding(&self, op: &Op, (width, context): (usize, usize), gradient: &mut [f32]) {
        let (positions, vectors) = gradient.split_at_mut(context * width);
        positions.fill(0.0);
        vectors.fill(0.0);
        for head in &self.trunk.ops {
            let Kind::TiedHead { vocabulary, .. } = head.kind else {
                continue;
            };
            let (input, logits) = (self.value(head.input), self.gradient(head.output));
            let rows = logits.len() / vocabulary;
            Columns::new(vectors, vocabulary, width).add_product(
                Matrix::new(logits, rows, vocabulary).transposed(),
                Matrix::new(input, rows, width),
            );
        }
        let (tokens, gradient) = (self.value(op.input), self.gradient(op.output));
        let rows = tokens.iter().zip(gradient.chunks_exact(width));
        for (place, (token, gradient)) in rows.enumerate() {
            add(gradient, &mut positions[place % context * width..][..width]);
            add(
                gradient,
                &mut vectors[token_index(*token) * width..][..width],
            );
        }
    }
}

fn add(from: &[f32], to: &mut [f32]) {
    wide(
        #[inline(always)]
        || lanes::add(to, from),
    );
}
