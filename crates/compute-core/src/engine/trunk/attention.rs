//! Causal self-attention of one sequence, head by head.
//!
//! # Source
//!
//! Vaswani et al. 2017, section 3.2, <https://arxiv.org/abs/1706.03762>.

use super::super::curve::exp;
use super::super::lanes::{self, wide};
use super::super::matrix::{Columns, Matrix};

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
            Columns::new(map, positions, positions).product(
                self.read(input, 0, head),
                self.read(input, 1, head).transposed(),
            );
            wide(
                #[inline(always)]
                || {
                    for (position, row) in map.chunks_exact_mut(positions).enumerate() {
                        let (seen, hidden) = row.split_at_mut(position + 1);
                        weigh(seen, scale);
                        hidden.fill(0.0);
                    }
                },
            );
            Columns::new(output, positions, self.width)
                .columns(head * self.head_width(), self.head_width())
                .product(
                    Matrix::new(map, positions, positions),
                    self.read(input, 2, head),
                );
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
        let (positions, scale) = (self.positions, self.scale());
        for (head, weights) in weights.chunks_exact(self.map_len()).enumerate() {
            let start = head * self.head_width();
            let gradient =
                Matrix::strided(&gradient[start..], positions, self.head_width(), self.width);
            Columns::new(map, positions, positions)
                .product(gradient, self.read(input, 2, head).transposed());
            wide(
                #[inline(always)]
                || {
                    let rows = map.chunks_exact_mut(positions);
                    for (map, weights) in rows.zip(weights.chunks_exact(positions)) {
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
            let weights = Matrix::new(weights, positions, positions);
            self.write(below, 2, head)
                .add_product(weights.transposed(), gradient);
            let map = Matrix::new(map, positions, positions);
            self.write(below, 0, head)
                .add_product(map, self.read(input, 1, head));
            self.write(below, 1, head)
                .add_product(map.transposed(), self.read(input, 0, head));
        }
    }
}

/// The softmax of `scale` times a row of products.
#[inline(always)]
fn weigh(row: &mut [f32], scale: f32) {
    let largest = lanes::largest(row);
    for x in row.iter_mut() {
        *x = exp((*x - largest) * scale);
    }
    let sum = lanes::sum(row);
    let share = 1.0 / sum;
    row.iter_mut().for_each(|p| *p *= share);
}
