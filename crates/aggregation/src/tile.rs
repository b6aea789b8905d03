//! The fold of one tile: all contributions to a range of parameters.

use std::ops::Range;

use crate::fold::{Contribution, FoldError};
use crate::source::{TensorSource, first_non_finite};

/// Numbers folded at a time. A tile's sums (512 KiB in f64) and one tile of an update (256 KiB) fit
/// a core's second-level cache together, and a read of 256 KiB is long enough for a disk. No result
/// depends on it except the last bits of [`delta_norm`](crate::FoldReport::delta_norm), which sums
/// tile by tile.
pub const TILE: usize = 64 * 1024;

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
    delta: Vec<f32>,
}

impl<B: TensorSource, S: TensorSource> Tiles<'_, B, S> {
    pub(crate) fn count(&self) -> usize {
        self.n_params.div_ceil(TILE)
    }

    fn range(&self, tile: usize) -> Range<usize> {
        let start = tile * TILE;
        start..self.n_params.min(start + TILE)
    }

    /// Folds one tile: `base + Σ wₖΔₖ / Σ wₖ`.
    pub(crate) fn fold(&self, tile: usize, scratch: &mut Scratch) -> Result<Folded, FoldError> {
        let range = self.range(tile);
        self.sum(&range, scratch)?;

        let mut params = vec![0.0; range.len()];
        self.base
            .read(range.start, &mut params)
            .map_err(|source| FoldError::ReadBase { source })?;
        let mut delta_squared = 0.0;
        for (param, sum) in params.iter_mut().zip(&scratch.sums) {
            let delta = sum / self.total_weight;
            delta_squared += delta * delta;
            *param = narrow(f64::from(*param) + delta);
        }
        match first_non_finite(&params) {
            Some(index) => Err(FoldError::ResultNotFinite {
                index: range.start + index,
            }),
            None => Ok(Folded {
                offset: range.start,
                params,
                delta_squared,
            }),
        }
    }

    /// Leaves Σ wₖΔₖ over `range` in `scratch.sums`.
    fn sum(&self, range: &Range<usize>, scratch: &mut Scratch) -> Result<(), FoldError> {
        let Scratch { sums, delta } = scratch;
        sums.clear();
        sums.resize(range.len(), 0.0);
        delta.resize(range.len(), 0.0);
        for contribution in &self.contributions {
            let client = contribution.client;
            contribution
                .source
                .read(range.start, delta)
                .map_err(|source| FoldError::Read { client, source })?;
            if let Some(index) = first_non_finite(delta) {
                return Err(FoldError::NonFinite {
                    client,
                    index: range.start + index,
                });
            }
            for (sum, delta) in sums.iter_mut().zip(delta.iter()) {
                *sum += contribution.weight * f64::from(*delta);
            }
        }
        Ok(())
    }
}

/// Rounds to the nearest f32; what is beyond its range becomes infinite, and is refused then.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is what a model's parameters are"
)]
fn narrow(number: f64) -> f32 {
    number as f32
}
