//! The fold of one tile: all contributions to a range of parameters.

use std::ops::Range;

use crate::fold::{Contribution, FoldError};
use crate::source::{TensorSource, first_non_finite};
use crate::sums::{self, TOGETHER};

/// Numbers folded at a time by a thread and handed over together. No result depends on it except the
/// last bits of [`delta_norm`](crate::FoldReport::delta_norm), which sums tile by tile.
pub const TILE: usize = 64 * 1024;

/// Numbers that are summed at a time: their sums (64 KiB in f64) and the same stretch of
/// [`TOGETHER`] updates (128 KiB) stay in a core's second-level cache. A divisor of [`TILE`].
const STRIP: usize = 8 * 1024;

/// What stays the same from tile to tile.
pub(crate) struct Tiles<'a, B, S> {
    pub(crate) base: &'a B,
    /// In canonical order.
    pub(crate) contributions: Vec<&'a Contribution<S>>,
    pub(crate) total_weight: f64,
    pub(crate) n_params: usize,
}

/// One tile of the result.
pub(crate) struct Folded {
    pub(crate) offset: usize,
    pub(crate) params: Vec<f32>,
    /// Σ of the squares of the aggregated delta, over this tile.
    pub(crate) delta_squared: f64,
}

/// The working memory of one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    sums: Vec<f64>,
    deltas: [Vec<f32>; TOGETHER],
}

impl<B: TensorSource, S: TensorSource> Tiles<'_, B, S> {
    pub(crate) fn count(&self) -> usize {
        self.n_params.div_ceil(TILE)
    }

    fn range(&self, tile: usize) -> Range<usize> {
        let start = tile * TILE;
        start..self.n_params.min(start + TILE)
    }

    /// Folds one tile, `base + Σ wₖΔₖ / Σ wₖ`, into the memory of `params`.
    pub(crate) fn fold(
        &self,
        tile: usize,
        mut params: Vec<f32>,
        scratch: &mut Scratch,
    ) -> Result<Folded, FoldError> {
        let range = self.range(tile);
        params.resize(range.len(), 0.0);
        match self.fold_strips(range.start, &mut params, scratch) {
            Ok(delta_squared) => Ok(Folded {
                offset: range.start,
                params,
                delta_squared,
            }),
            // Strips find what is wrong in another order than it is told in.
            Err(found) => Err(self.first_wrong(&range).unwrap_or(found)),
        }
    }

    /// Folds the parameters from `offset` on strip by strip; gives Σ of the delta's squares.
    fn fold_strips(
        &self,
        mut offset: usize,
        params: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<f64, FoldError> {
        let mut delta_squared = 0.0;
        for strip in params.chunks_mut(STRIP) {
            self.sum(offset, strip.len(), scratch)?;
            self.base
                .read(offset, strip)
                .map_err(|source| FoldError::ReadBase { source })?;
            delta_squared += sums::apply(strip, &scratch.sums, self.total_weight);
            // An update that is not finite leaves no finite sum, so the result is looked at alone.
            if let Some(index) = first_non_finite(strip) {
                let index = offset + index;
                return Err(FoldError::ResultNotFinite { index });
            }
            offset += strip.len();
        }
        Ok(delta_squared)
    }

    /// Leaves Σ wₖΔₖ over `len` numbers from `offset` on in `scratch.sums`.
    fn sum(&self, offset: usize, len: usize, scratch: &mut Scratch) -> Result<(), FoldError> {
        let Scratch { sums, deltas } = scratch;
        sums.clear();
        sums.resize(len, 0.0);
        for group in self.contributions.chunks(TOGETHER) {
            let mut terms: [(&[f32], f64); TOGETHER] = [(&[], 0.0); TOGETHER];
            for ((term, memory), contribution) in terms.iter_mut().zip(&mut *deltas).zip(group) {
                let delta = match contribution.source.view(offset, len) {
                    Some(delta) => delta,
                    None => read(contribution, offset, len, memory)?,
                };
                *term = (delta, contribution.weight);
            }
            sums::add(sums, &terms[..group.len()]);
        }
        Ok(())
    }

    /// What is wrong with a tile: of the lowest client, or else of the base, or else of the result.
    fn first_wrong(&self, range: &Range<usize>) -> Option<FoldError> {
        let mut memory = Vec::new();
        for contribution in &self.contributions {
            let delta = match read(contribution, range.start, range.len(), &mut memory) {
                Ok(delta) => delta,
                Err(error) => return Some(error),
            };
            if let Some(index) = first_non_finite(delta) {
                return Some(FoldError::NonFinite {
                    client: contribution.client,
                    index: range.start + index,
                });
            }
        }
        None
    }
}

/// A stretch of a contribution, copied to `memory`.
fn read<'a, S: TensorSource>(
    contribution: &Contribution<S>,
    offset: usize,
    len: usize,
    memory: &'a mut Vec<f32>,
) -> Result<&'a [f32], FoldError> {
    memory.resize(len, 0.0);
    let read = contribution.source.read(offset, memory);
    read.map_err(|source| FoldError::Read {
        client: contribution.client,
        source,
    })?;
    Ok(memory)
}
