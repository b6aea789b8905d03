//! Pooling: one number for each square window of each channel.
//!
//! Images lie place by place here, `[height, width, channels]`, so that loops run over channels.

use super::super::lanes;

/// A square window that moves over an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) channels: usize,
    /// Of the image.
    pub(super) width: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
    /// The largest number, and not the mean.
    pub(super) largest: bool,
}

impl Window {
    /// Numbers of one pooled image.
    pub(super) fn out_len(&self) -> usize {
        self.out_height * self.out_width * self.channels
    }

    /// Where in the image place `(dy, dx)` of window number `index` begins.
    #[inline(always)]
    fn place(&self, index: usize, dy: usize, dx: usize) -> usize {
        let y = index / self.out_width * self.stride + dy;
        let x = index % self.out_width * self.stride + dx;
        (y * self.width + x) * self.channels
    }

    /// Pools one image. Where it takes the largest number, `which` says for each where in its
    /// window it was; of equal ones it is the first. NaN is larger than any.
    ///
    /// # Shapes
    ///
    /// - `image`: `[height, width, channels]`
    /// - `out`, `which`: `[out_height, out_width, channels]`; `which` is empty for the mean
    #[inline(always)]
    pub(super) fn pool(&self, image: &[f32], out: &mut [f32], which: &mut [f32]) {
        let channels = self.channels;
        if !self.largest {
            let share = 1.0 / (self.kernel * self.kernel) as f32;
            for (index, out) in out.chunks_exact_mut(channels).enumerate() {
                out.fill(0.0);
                self.places(
                    index,
                    #[inline(always)]
                    |_, place| {
                        let from = &image[place..place + channels];
                        lanes::zip(
                            out,
                            from,
                            #[inline(always)]
                            |sum, x| *sum += share * x,
                        );
                    },
                );
            }
            return;
        }
        let outs = out.chunks_exact_mut(channels);
        let whiches = which.chunks_exact_mut(channels);
        for (index, (out, which)) in outs.zip(whiches).enumerate() {
            let first = self.place(index, 0, 0);
            out.copy_from_slice(&image[first..first + channels]);
            which.fill(0.0);
            self.places(
                index,
                #[inline(always)]
                |number, place| {
                    let from = &image[place..place + channels];
                    lanes::zip_into_two(
                        out,
                        which,
                        from,
                        #[inline(always)]
                        |best, which, x| {
                            let is_better = x > *best || x.is_nan();
                            *best = if is_better { x } else { *best };
                            *which = if is_better { number } else { *which };
                        },
                    );
                },
            );
        }
    }

    /// Calls `act` with the number and the place of each part of window `index`.
    #[inline(always)]
    fn places(&self, index: usize, mut act: impl FnMut(f32, usize)) {
        let first = self.place(index, 0, 0);
        let mut number = 0.0;
        for dy in 0..self.kernel {
            for dx in 0..self.kernel {
                act(number, first + (dy * self.width + dx) * self.channels);
                number += 1.0;
            }
        }
    }

    /// Adds the gradient at the pooled image to the gradient at the image.
    ///
    /// Shapes as in [`Self::pool`].
    #[inline(always)]
    #[expect(
        clippy::float_cmp,
        reason = "places in a window are small whole numbers"
    )]
    pub(super) fn spread(&self, out: &[f32], which: &[f32], image: &mut [f32]) {
        let channels = self.channels;
        if !self.largest {
            let share = 1.0 / (self.kernel * self.kernel) as f32;
            for (index, out) in out.chunks_exact(channels).enumerate() {
                self.places(
                    index,
                    #[inline(always)]
                    |_, place| {
                        let to = &mut image[place..place + channels];
                        lanes::zip(
                            to,
                            out,
                            #[inline(always)]
                            |to, g| *to += share * g,
                        );
                    },
                );
            }
            return;
        }
        let pairs = out.chunks_exact(channels).zip(which.chunks_exact(channels));
        for (index, (out, which)) in pairs.enumerate() {
            self.places(
                index,
                #[inline(always)]
                |number, place| {
                    let to = &mut image[place..place + channels];
                    lanes::zip_two(
                        to,
                        which,
                        out,
                        #[inline(always)]
                        |to, which, g| {
                            *to += if which == number { g } else { 0.0 };
                        },
                    );
                },
            );
        }
    }
}
