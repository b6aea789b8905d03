//! The part of a model that each row passes alone: convolutions, attention and what is between.
//!
//! It ends before the linear layers at a model's end, which are cut by columns and not by rows
//! (see [`super::network`]). A block of rows passes forward through all of it in one task, and
//! backward in another; then each linear layer's gradient is summed over all rows at once, tile by
//! tile, while gradients of convolutions and norms were summed block by block and are added in the
//! order of blocks. There are at most [`BLOCKS_MAX`] blocks, whatever the number of threads.

mod attention;
mod block_work;
mod convolution;
mod held;
mod im2col;
mod norm;
mod op;
mod panels;
mod plan;
mod update;
mod window;
mod winograd;

pub(super) use block_work::token_index;
pub(super) use held::{Held, Known, Slopes};
pub(super) use update::update_tasks;

use op::{Kind, Op};

/// Most blocks that a batch is cut into: enough that four threads share them evenly, few enough
/// that a block of sequences is tall enough for products near their limit.
pub(super) const BLOCKS_MAX: usize = 8;

/// Layers, and where the numbers between them stand.
pub(super) struct Trunk {
    ops: Vec<Op>,
    /// Width of each sheet of values; the first is the input, the last what the trunk yields.
    values: Vec<usize>,
    /// Width of each sheet of what a forward pass leaves for the backward pass.
    kept: Vec<usize>,
    /// Width of each sheet of gradients.
    gradients: Vec<usize>,
    /// The sheet of the gradient at each value, if it has one.
    slots: Vec<Option<usize>>,
    /// Length of the trunk's parameters, which are the model's first.
    pub(super) num_parameters: usize,
    /// Length of the weights as products read them.
    pub(super) prepared_len: usize,
    /// Length of what a block sums.
    sums_len: usize,
    /// Length of what a block needs for one row, or for as many as a layer takes together.
    bench_len: usize,
    /// Multiplications of a forward pass of one row.
    pub(super) products: usize,
    /// Rows of the linear layers for one row of a batch.
    pub(super) positions: usize,
}

impl Trunk {
    /// Rows of one block.
    pub(super) fn block(rows: usize) -> usize {
        rows.div_ceil(BLOCKS_MAX).max(1)
    }

    /// Length of the largest weight of a linear layer.
    pub(super) fn weight_max(&self) -> usize {
        let weights = self.ops.iter().map(|op| match op.kind {
            Kind::Linear {
                inputs, outputs, ..
            } => inputs * outputs,
            _ => 0,
        });
        weights.max().unwrap_or(0)
    }

    /// Width of what it yields.
    pub(super) fn width(&self) -> usize {
        self.values.last().copied().unwrap_or(0)
    }

    /// Numbers that a training of batches of `rows` rows holds.
    pub(super) fn num_values(&self, rows: usize) -> usize {
        let of = |widths: &[usize]| widths.iter().fold(0_usize, |sum, w| sum.saturating_add(*w));
        let row = of(&self.values)
            .saturating_add(of(&self.kept))
            .saturating_add(of(&self.gradients));
        let block = self.sums_len.saturating_add(self.bench_len);
        row.saturating_mul(rows)
            .saturating_add(block.saturating_mul(BLOCKS_MAX))
    }
}
