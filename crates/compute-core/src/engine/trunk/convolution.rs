//! Convolution of images, and what is done with its result while that is in the cache.
//!
//! Images lie place by place, `[height, width, channels]`, so that a row of a window is one
//! stretch of memory.

use super::super::curve::Curve;
use super::super::lanes::{self, wide};
use super::window::Window;

/// A convolution, the activations after it, and the pooling after those.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    /// Of the image.
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
    pub(super) curve: Curve,
    /// Only where the curve's slope shows in what comes out of it.
    pub(super) pool: Option<Window>,
}

/// Memory for a group of images.
pub(super) struct Bench<'a> {
    /// What products read and write.
    pub(super) products: &'a mut [f32],
    /// `[images, places, outputs]` where there is a pool, else empty.
    pub(super) whole: &'a mut [f32],
}

impl Convolution {
    /// Places of what it yields, before pooling.
    pub(super) fn places(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Numbers of one image after the convolution, before pooling.
    pub(super) fn whole_len(&self) -> usize {
        self.places() * self.outputs
    }

    /// Numbers of what it yields.
    pub(super) fn out_len(&self) -> usize {
        self.pool.map_or(self.whole_len(), |pool| pool.out_len())
    }

    /// Numbers of an image that comes in.
    pub(super) fn in_len(&self) -> usize {
        self.height * self.width * self.inputs
    }

    /// Numbers of the weight.
    pub(super) fn weight_len(&self) -> usize {
        self.window() * self.outputs
    }

    /// Numbers of the weight as one product reads it, which are those of its gradient too until all
    /// images have added to it.
    pub(super) fn laid_out_len(&self) -> usize {
        match self.is_tiled() {
            true => self.tile_weights_len(),
            false => self.weight_len(),
        }
    }

    /// Images that are convolved together.
    pub(super) fn group(&self) -> usize {
        match self.is_tiled() {
            true => self.tiled_together(),
            false => 1,
        }
    }

    fn products_len(&self) -> usize {
        match self.is_tiled() {
            true => self.group() * self.tiles_len(),
            false => self.windows_len(),
        }
    }

    pub(super) fn bench_len(&self) -> usize {
        let whole = self.pool.map_or(0, |_| self.whole_len());
        self.products_len() + self.group() * whole
    }

    pub(super) fn bench<'a>(&self, memory: &'a mut [f32]) -> Bench<'a> {
        let (products, rest) = memory.split_at_mut(self.products_len());
        let whole = self.pool.map_or(0, |_| self.group() * self.whole_len());
        let whole = &mut rest[..whole];
        Bench { products, whole }
    }

    /// Lays the weight out as the products forward read it, then as those backward do.
    ///
    /// # Shapes
    ///
    /// `weight`: `[outputs, inputs, kernel, kernel]`
    pub(super) fn prepare(&self, weight: &[f32], prepared: &mut [f32]) {
        match self.is_tiled() {
            true => self.prepare_tiles(weight, prepared),
            false => self.prepare_windows(weight, prepared),
        }
    }

    /// Adds what blocks of images have summed, block by block, to a gradient in the order of the
    /// weight.
    pub(super) fn restore<'a>(
        &self,
        blocks: impl Iterator<Item = &'a [f32]> + Clone,
        gradient: &mut [f32],
    ) {
        if self.is_tiled() {
            wide(
                #[inline(always)]
                || self.restore_tiles(&blocks, gradient),
            );
            return;
        }
        for sums in blocks {
            self.restore_windows(sums, gradient);
        }
    }

    /// A group of images forward.
    ///
    /// # Shapes
    ///
    /// - `images`: `[images, height, width, inputs]`
    /// - `bias`: `[outputs]`; `prepared`: as [`Self::prepare`] leaves it
    /// - `out`: `[images, out_height, out_width, outputs]`, or what the pool makes of it
    /// - `kept`: the curve's slopes, as far as it keeps them, or where the pool found its numbers
    pub(super) fn forward(
        &self,
        images: &[f32],
        (bias, prepared): (&[f32], &[f32]),
        bench: &mut Bench<'_>,
        out: &mut [f32],
        kept: &mut [f32],
    ) {
        let whole = match self.pool {
            Some(_) => &mut bench.whole[..images.len() / self.in_len() * self.whole_len()],
            None => &mut *out,
        };
        match self.is_tiled() {
            true => self.multiply_tiles(images, prepared, bench.products, whole),
            false => self.multiply_windows(images, prepared, bench.products, whole),
        }
        wide(
            #[inline(always)]
            || {
                for place in whole.chunks_exact_mut(self.outputs) {
                    lanes::add(place, bias);
                }
                if self.pool.is_none() && self.curve.keeps_input() {
                    self.curve.bend_and_keep(whole, kept);
                } else {
                    self.curve.bend(whole);
                }
            },
        );
        if let Some(pool) = self.pool {
            let wholes = bench.whole.chunks_exact(self.whole_len());
            let outs = out.chunks_exact_mut(pool.out_len());
            let kept = kept.chunks_exact_mut(pool.out_len());
            for ((whole, out), kept) in wholes.zip(outs).zip(kept) {
                wide(
                    #[inline(always)]
                    || pool.pool(whole, out, kept),
                );
            }
        }
    }

    /// A group of images backward: adds to the sums of their gradients, and to the gradients at the
    /// images.
    ///
    /// # Shapes
    ///
    /// As in [`Self::forward`]; `seen` is what the curve's slopes are read from; `sums` is
    /// `[outputs]` for the bias, then that of [`Self::laid_out_len`]; `below` is like `images`.
    pub(super) fn backward(
        &self,
        images: &[f32],
        prepared: &[f32],
        bench: &mut Bench<'_>,
        (gradient, seen, kept): (&mut [f32], &[f32], &[f32]),
        sums: &mut [f32],
        below: Option<&mut [f32]>,
    ) {
        let (bias, weight) = sums.split_at_mut(self.outputs);
        wide(
            #[inline(always)]
            || {
                self.curve.chain_kept(seen, gradient);
                // Each number of a pooled gradient goes to one place, or in shares that sum to it.
                for place in gradient.chunks_exact(self.outputs) {
                    lanes::add(bias, place);
                }
            },
        );
        let whole = match self.pool {
            Some(pool) => {
                let whole = &mut bench.whole[..images.len() / self.in_len() * self.whole_len()];
                whole.fill(0.0);
                let wholes = whole.chunks_exact_mut(self.whole_len());
                let gradients = gradient.chunks_exact(pool.out_len());
                let kept = kept.chunks_exact(pool.out_len());
                for ((whole, gradient), kept) in wholes.zip(gradients).zip(kept) {
                    wide(
                        #[inline(always)]
                        || pool.spread(gradient, kept, whole),
                    );
                }
                &*whole
            }
            None => gradient,
        };
        let products = &mut *bench.products;
        match self.is_tiled() {
            true => self.multiply_tiles_back(images, prepared, products, whole, weight, below),
            false => self.multiply_windows_back(images, prepared, products, whole, weight, below),
        }
    }
}
