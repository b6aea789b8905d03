//! Causal self-attention of one sequence, head by head.
//!
//! # Source
//!
//! Vaswani et al. 2017, section 3.2, <https://arxiv.org/abs/1706.03762>.

use super::super::curve::exp;
use super::super::lanes::{self, LANES, wide};
use super::super::matrix::{Columns, Matrix};

/// Positions that are taken together. None of a block sees beyond the block's end, so that of a long
/// context nearly half of all products are never made.
const BLOCK: usize = 32;

/// Causal self-attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    pub(super) positions: usize,
    /// Of what it yields.
    pub(super) width: usize,
    pub(super) heads: usize,
}

impl Attention {
    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Numbers of the weights of one sequence, `[heads, positions, positions]`.
    pub(super) fn weights_len(&self) -> usize {
        self.heads * self.map_len()
    }

    /// Numbers of the weights of one head.
    pub(super) fn map_len(&self) -> usize {
        self.positions * self.positions
    }

    /// Where each block of positions begins, and how many it has.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let positions = self.positions;
        (0..positions)
            .step_by(BLOCK)
            .map(move |start| (start, BLOCK.min(positions - start)))
    }

    /// The queries (`part` 0), keys (1) or values (2) of one head, `[positions, head_width]`.
    fn read<'a>(&self, input: &'a [f32], part: usize, head: usize) -> Matrix<'a> {
        let start = part * self.width + head * self.head_width();
        let stride = 3 * self.width;
        Matrix::strided(&input[start..], self.positions, self.head_width(), stride)
    }

    fn write<'a>(&self, input: &'a mut [f32], part: usize, head: usize) -> Columns<'a> {
        let start = part * self.width + head * self.head_width();
        Columns::new(input, self.positions, 3 * self.width).columns(start, self.head_width())
    }

    /// `1 / √head_width`
    fn scale(&self) -> f32 {
        1.0 / (self.head_width() as f32).sqrt()
    }

    /// One sequence forward.
    ///
    /// # Shapes
    ///
    /// - `input`: `[positions, 3 · width]`: queries, keys, values
    /// - `output`: `[positions, width]`
    /// - `weights`: `[heads, positions, positions]`, to be filled in
    pub(super) fn forward(&self, input: &[f32], output: &mut [f32], weights: &mut [f32]) {
        let (positions, scale) = (self.positions, self.scale());
        for (head, map) in weights.chunks_exact_mut(self.map_len()).enumerate() {
            let [queries, keys, values] = [0, 1, 2].map(|part| self.read(input, part, head));
            for (start, count) in self.blocks() {
                let seen = start + count;
                Columns::new(map, positions, positions)
                    .columns(0, seen)
                    .rows(start, count)
                    .product(queries.rows(start, count), keys.rows(0, seen).transposed());
                let rows = map[start * positions..].chunks_exact_mut(positions);
                let mut rows = (start..seen).zip(rows);
                wide(
                    #[inline(always)]
                    || {
                        for (position, row) in rows.by_ref() {
                            weigh(&mut row[..seen], position + 1, scale);
                        }
                    },
                );
                let weights = Matrix::new(map, positions, positions);
                Columns::new(output, positions, self.width)
                    .columns(head * self.head_width(), self.head_width())
                    .rows(start, count)
                    .product(
                        weights.rows(start, count).columns(0, seen),
                        values.rows(0, seen),
                    );
            }
        }
    }

    /// One sequence backward: gives the gradient at the input, or adds it where `is_added` says so.
    ///
    /// # Shapes
    ///
    /// As in [`Self::forward`]; `gradient` is like `output`, `below` like `input`, `map` is memory
    /// for `[positions, positions]`.
    pub(super) fn backward(
        &self,
        input: &[f32],
        weights: &[f32],
        gradient: &[f32],
        (below, is_added): (&mut [f32], bool),
        map: &mut [f32],
    ) {
        if !is_added {
            below.fill(0.0);
        }
        let positions = self.positions;
        for (head, weights) in weights.chunks_exact(self.map_len()).enumerate() {
            let [queries, keys, values] = [0, 1, 2].map(|part| self.read(input, part, head));
            let width = self.head_width();
            let gradient = Matrix::strided(&gradient[head * width..], positions, width, self.width);
            for (start, count) in self.blocks() {
                let seen = start + count;
                Columns::new(map, positions, positions)
                    .columns(0, seen)
                    .rows(start, count)
                    .product(
                        gradient.rows(start, count),
                        values.rows(0, seen).transposed(),
                    );
                let block = start * positions..seen * positions;
                self.weigh_back(&mut map[block.clone()], &weights[block], seen);
                let map = Matrix::new(map, positions, positions);
                self.write(below, 0, head)
                    .rows(start, count)
                    .add_product(map.rows(start, count).columns(0, seen), keys.rows(0, seen));
            }
            let weights = Matrix::new(weights, positions, positions);
            let map = Matrix::new(map, positions, positions);
            for (start, count) in self.blocks() {
                let seeing = positions - start;
                let [weights, map] = [weights, map].map(|map| {
                    let seen = map.rows(start, seeing).columns(start, count);
                    seen.transposed()
                });
                self.write(below, 2, head)
                    .rows(start, count)
                    .add_product(weights, gradient.rows(start, seeing));
                self.write(below, 1, head)
                    .rows(start, count)
                    .add_product(map, queries.rows(start, seeing));
            }
        }
    }

    /// Takes the gradient at some rows of weights below their softmax.
    fn weigh_back(&self, map: &mut [f32], weights: &[f32], seen: usize) {
        let scale = self.scale();
        let mut rows = map
            .chunks_exact_mut(self.positions)
            .zip(weights.chunks_exact(self.positions));
        wide(
            #[inline(always)]
            || {
                for (map, weights) in rows.by_ref() {
                    let (map, weights) = (&mut map[..seen], &weights[..seen]);
                    let mean = lanes::sum_of(
                        map,
                        weights,
                        #[inline(always)]
                        |g, p| g * p,
                    );
                    lanes::zip(
                        map,
                        weights,
                        #[inline(always)]
                        |g, weight| *g = weight * (*g - mean) * scale,
                    );
                }
            },
        );
    }
}

/// The softmax of `scale` times the first `count` of a row of products; the others become 0.
///
/// It works on whole vectors: a row's length changes from one to the next, and most of a short one
/// would be done number by number.
#[inline(always)]
fn weigh(row: &mut [f32], count: usize, scale: f32) {
    let largest = lanes::largest(&row[..count]);
    let whole = count.next_multiple_of(LANES).min(row.len());
    lanes::each(
        &mut row[..whole],
        #[inline(always)]
        |x| *x = exp((*x - largest) * scale),
    );
    row[count..].fill(0.0);
    let share = 1.0 / lanes::sum(&row[..whole]);
    lanes::each(
        &mut row[..whole],
        #[inline(always)]
        |p| *p *= share,
    );
}
