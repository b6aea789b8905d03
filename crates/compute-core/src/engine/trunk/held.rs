//! What a trunk holds while it is trained or asked: planned once for a largest batch.

use super::super::pool::Pool;
use super::super::sheets::Sheets;
use super::op::{Backward, Forward, Op, Weights};
use super::{BLOCKS_MAX, Trunk};

/// What a forward pass leaves behind.
pub(in super::super) struct Held {
    /// What stands between layers.
    values: Sheets,
    /// What layers leave for the backward pass.
    kept: Sheets,
    /// Memory for each block, as long as its trunk says.
    bench: Vec<f32>,
    /// The weights as products read them.
    prepared: Vec<f32>,
}

/// Gradients of a trunk.
pub(in super::super) struct Slopes {
    /// At what stands between layers.
    sheets: Sheets,
    /// `[blocks, sums_len]`
    sums: Vec<f32>,
}

/// What the gradients of parameters are summed from.
#[derive(Clone, Copy)]
pub(in super::super) struct Known<'a> {
    pub(super) trunk: &'a Trunk,
    pub(super) rows: usize,
    held: &'a Held,
    slopes: &'a Slopes,
}

impl Held {
    pub(in super::super) fn new(trunk: &Trunk, rows_max: usize) -> Self {
        Self {
            values: Sheets::new(&trunk.values, rows_max),
            kept: Sheets::new(&trunk.kept, rows_max),
            bench: vec![0.0; BLOCKS_MAX * trunk.bench_len.max(1)],
            prepared: vec![0.0; trunk.prepared_len],
        }
    }

    /// Where a batch of `rows` rows comes in, `[rows, inputs]`.
    pub(in super::super) fn input(&mut self, rows: usize) -> &mut [f32] {
        self.values.rows_mut(0, rows)
    }

    /// What the trunk yields, `[rows, width]`.
    pub(in super::super) fn output(&self, trunk: &Trunk, rows: usize) -> &[f32] {
        self.values.rows(trunk.values.len() - 1, rows)
    }

    /// Lays the weights out as products read them.
    pub(in super::super) fn prepare(&mut self, trunk: &Trunk, pool: &mut Pool, parameters: &[f32]) {
        let mut rest = &mut self.prepared[..];
        let tasks = trunk.ops.iter().map(move |op| {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(op.prepared_len);
            rest = others;
            (op, own)
        });
        pool.each(tasks, |(op, own)| op.prepare(parameters, own));
    }

    /// Blocks of a batch of `rows` rows, and what they take forward.
    pub(in super::super) fn blocks<'a>(
        &'a mut self,
        trunk: &'a Trunk,
        parameters: &'a [f32],
        rows: usize,
    ) -> impl Iterator<Item = Passage<'a>> + Send {
        let block = Trunk::block(rows);
        let weights = Weights {
            parameters,
            prepared: &self.prepared,
        };
        let values = self.values.blocks(rows, block);
        let kept = self.kept.blocks(rows, block);
        let benches = self.bench.chunks_mut(trunk.bench_len.max(1));
        let all = values.zip(kept).zip(benches);
        all.map(move |((values, kept), bench)| Passage {
            ops: &trunk.ops,
            block: Forward {
                values,
                kept,
                bench,
            },
            weights,
        })
    }
}

/// A block of rows on its way forward.
pub(in super::super) struct Passage<'a> {
    ops: &'a [Op],
    block: Forward<'a>,
    weights: Weights<'a>,
}

impl Passage<'_> {
    /// Goes through all layers, and gives what the last one yields.
    pub(in super::super) fn go(&mut self) -> &mut [f32] {
        for op in self.ops {
            op.forward(&mut self.block, self.weights);
        }
        let last = self.ops.last().map_or(0, |op| op.output);
        self.block.values.get_mut(last)
    }
}

impl Slopes {
    pub(in super::super) fn new(trunk: &Trunk, rows_max: usize) -> Self {
        Self {
            sheets: Sheets::new(&trunk.gradients, rows_max),
            sums: vec![0.0; BLOCKS_MAX * trunk.sums_len.max(1)],
        }
    }

    /// The gradient at what the trunk yields, `[rows, width]`, to be filled in.
    pub(in super::super) fn last(&mut self, trunk: &Trunk, rows: usize) -> &mut [f32] {
        let last = trunk.slots[trunk.values.len() - 1].unwrap_or(0);
        self.sheets.rows_mut(last, rows)
    }

    /// Goes back down from the gradient at what the trunk yields, block by block.
    ///
    /// Where nothing stands above the trunk, that gradient has replaced what it yields.
    pub(in super::super) fn descend(
        &mut self,
        trunk: &Trunk,
        held: &mut Held,
        pool: &mut Pool,
        parameters: &[f32],
        rows: usize,
        is_replaced: bool,
    ) {
        let block = Trunk::block(rows);
        let weights = Weights {
            parameters,
            prepared: &held.prepared,
        };
        let values = held.values.blocks(rows, block);
        let kept = held.kept.blocks(rows, block);
        let gradients = self.sheets.blocks(rows, block);
        let benches = held.bench.chunks_mut(trunk.bench_len.max(1));
        let sums = self.sums.chunks_mut(trunk.sums_len.max(1));
        let blocks = values.zip(kept).zip(gradients).zip(benches).zip(sums);
        let last = trunk.values.len() - 1;
        pool.each(blocks, |((((values, kept), gradients), bench), sums)| {
            let mut block = Backward {
                values,
                kept,
                gradients,
                bench,
                sums,
                slots: &trunk.slots,
            };
            block.sums.fill(0.0);
            if let (true, Some(slot)) = (is_replaced, trunk.slots[last]) {
                let from = block.values.get(last);
                block.gradients.get_mut(slot).copy_from_slice(from);
            }
            for op in trunk.ops.iter().rev() {
                op.backward(&mut block, weights);
            }
        });
    }
}

impl<'a> Known<'a> {
    pub(in super::super) fn new(
        trunk: &'a Trunk,
        held: &'a Held,
        slopes: &'a Slopes,
        rows: usize,
    ) -> Self {
        Self {
            trunk,
            rows,
            held,
            slopes,
        }
    }

    /// A value, for all rows.
    pub(super) fn value(&self, value: usize) -> &'a [f32] {
        self.held.values.rows(value, self.rows)
    }

    /// The gradient at a value, for all rows.
    pub(super) fn gradient(&self, value: usize) -> &'a [f32] {
        match self.trunk.slots[value] {
            Some(slot) => self.slopes.sheets.rows(slot, self.rows),
            None => &[],
        }
    }

    /// What each block summed for a layer, in the order of blocks.
    pub(super) fn sums(&self, op: &'a Op) -> impl Iterator<Item = &'a [f32]> + Clone {
        let blocks = self.rows.div_ceil(Trunk::block(self.rows));
        let all = self.slopes.sums.chunks(self.trunk.sums_len.max(1));
        all.take(blocks)
            .map(move |sums| &sums[op.sums..][..op.sums_len])
    }
}
