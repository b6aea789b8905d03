//! Convolution tile by tile: 16 products for each channel and tile of 2 × 2 outputs, where windows
//! take 36.
//!
//! A tile of 4 × 4 places of the image and a kernel of 3 × 3 are each turned into 16 numbers, whose
//! products, summed over channels, are turned into 2 × 2 outputs: `Y = Aᵀ [G g Gᵀ ⊙ Bᵀ d B] A`. The
//! gradients are those of this very formula, by the chain rule.
//!
//! Steps on images of 28 × 28, two convolutions of as many channels each with a pool after each, and
//! two linear layers, batches of 64, one thread of an EPYC with AVX-512, samples a second:
//!
//! | channels | windows | tiles |
//! |---|---|---|
//! | 16 | 11,800 | 13,300 |
//! | 32 | 4,900 | 6,600 |
//! | 64 | 1,540 | 2,720 |
//! | 128 | 370 | 580 |
//!
//! (The first convolution, of one channel, has windows in both columns.)
//!
//! # Source
//!
//! Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks", F(2 × 2, 3 × 3),
//! <https://arxiv.org/abs/1509.09308>.

mod squares;

use super::super::lanes::{LANES, wide};
use super::super::matrix::{Columns, Matrix};
use super::convolution::Convolution;
use super::panels::transpose;
use squares::{
    Frame, Place, ZERO, both, lanes, lanes_mut, of_image, of_kernel, of_output, plus, read,
    to_image, to_kernel, to_output,
};

/// Numbers that a tile, or a kernel, is turned into.
const POINTS: usize = 16;

/// Places of the output on a tile's side.
const STEP: usize = 2;

/// Places of a kernel.
const AREA: usize = 9;

/// Bytes that a group of images takes in the second-level cache, beside the weights.
const GROUP_BYTES: usize = 640 * 1024;

impl Convolution {
    /// Whether it is done by tiles: where they take fewer products, and an image has more than one.
    pub(super) fn is_tiled(&self) -> bool {
        let fills_lanes = |channels: usize| channels > 0 && channels.is_multiple_of(LANES);
        let fits = fills_lanes(self.inputs) && fills_lanes(self.outputs);
        let spares = POINTS * self.tiles() < AREA * self.places() && self.tiles() > 1;
        fits && spares && self.kernel == 3 && self.stride == 1
    }

    /// Numbers of the weight for all points.
    pub(super) fn tile_weights_len(&self) -> usize {
        POINTS * self.inputs * self.outputs
    }

    /// Numbers of one image's tiles for all points, before and after the products.
    pub(super) fn tiles_len(&self) -> usize {
        POINTS * self.tiles() * (self.inputs + self.outputs)
    }

    /// Images whose tiles are multiplied together.
    pub(super) fn tiled_together(&self) -> usize {
        (GROUP_BYTES / (size_of::<f32>() * self.tiles_len())).clamp(1, 8)
    }

    /// Tiles of an image.
    fn tiles(&self) -> usize {
        self.out_height.div_ceil(STEP) * self.out_width.div_ceil(STEP)
    }

    /// Which image of a group a tile is of, and the first place of its outputs there.
    #[inline(always)]
    fn tile(&self, tile: usize) -> (usize, (usize, usize)) {
        let across = self.out_width.div_ceil(STEP);
        let own = tile % self.tiles();
        let first = (own / across * STEP, own % across * STEP);
        (tile / self.tiles(), first)
    }

    fn in_frame(&self) -> Frame {
        Frame {
            height: self.height,
            width: self.width,
            depth: self.inputs / LANES,
            padding: self.padding,
        }
    }

    fn out_frame(&self) -> Frame {
        Frame {
            height: self.out_height,
            width: self.out_width,
            depth: self.outputs / LANES,
            padding: 0,
        }
    }

    /// Turns the weight: `[points, inputs, outputs]`, then `[points, outputs, inputs]`.
    ///
    /// # Shapes
    ///
    /// `weight`: `[outputs, inputs, 3, 3]`
    pub(super) fn prepare_tiles(&self, weight: &[f32], prepared: &mut [f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let (down, up) = prepared.split_at_mut(self.tile_weights_len());
        wide(
            #[inline(always)]
            || {
                for output in 0..outputs {
                    let own = &weight[output * inputs * AREA..][..inputs * AREA];
                    for (depth, own) in own.chunks_exact(LANES * AREA).enumerate() {
                        let mut kernel = [[ZERO; 3]; 3];
                        for (lane, own) in own.chunks_exact(AREA).enumerate() {
                            for (place, w) in own.iter().enumerate() {
                                kernel[place / 3][place % 3][lane] = *w;
                            }
                        }
                        let place = Place::of(output, outputs, (depth, inputs / LANES));
                        place.write(
                            both!(of_kernel, kernel, [0 1 2] => [0 1 2 3]),
                            lanes_mut(up),
                        );
                    }
                }
            },
        );
        let points = down.chunks_exact_mut(inputs * outputs);
        for (up, down) in up.chunks_exact(inputs * outputs).zip(points) {
            transpose(up, inputs, down);
        }
    }

    /// Adds what blocks have summed for the turned weight, `[points, inputs, outputs]` each, to a
    /// gradient in the order of the weight.
    #[inline(always)]
    pub(super) fn restore_tiles<'a>(
        &self,
        blocks: &(impl Iterator<Item = &'a [f32]> + Clone),
        gradient: &mut [f32],
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        for input in 0..inputs {
            for depth in 0..outputs / LANES {
                let place = Place::of(input, inputs, (depth, outputs / LANES));
                let mut sum = [[ZERO; 4]; 4];
                for block in blocks.clone() {
                    let own = place.read(lanes(block));
                    for row in 0..4 {
                        for column in 0..4 {
                            sum[row][column] = plus(sum[row][column], own[row][column]);
                        }
                    }
                }
                let kernel = both!(to_kernel, sum, [0 1 2 3] => [0 1 2]);
                let kernels = gradient[depth * LANES * inputs * AREA..].chunks_exact_mut(AREA);
                let own = kernels.skip(input).step_by(inputs).take(LANES);
                for (lane, own) in own.enumerate() {
                    for (place, to) in own.iter_mut().enumerate() {
                        *to += kernel[place / 3][place % 3][lane];
                    }
                }
            }
        }
    }

    /// The convolution of a group of images.
    ///
    /// # Shapes
    ///
    /// - `images`: `[images, height, width, inputs]`
    /// - `prepared`: as [`Self::prepare_tiles`] leaves it
    /// - `products`: memory, of [`Self::tiles_len`] for each image
    /// - `whole`: `[images, out_height, out_width, outputs]`
    pub(super) fn multiply_tiles(
        &self,
        images: &[f32],
        prepared: &[f32],
        products: &mut [f32],
        whole: &mut [f32],
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let tiles = images.len() / self.in_len() * self.tiles();
        let (before, after) = products.split_at_mut(POINTS * tiles * inputs);
        wide(
            #[inline(always)]
            || self.turn_images(images, tiles, before),
        );
        let each = before
            .chunks_exact(tiles * inputs)
            .zip(after.chunks_exact_mut(tiles * outputs))
            .zip(prepared.chunks_exact(inputs * outputs));
        for ((before, after), weight) in each {
            Columns::new(after, tiles, outputs).product(
                Matrix::new(before, tiles, inputs),
                Matrix::new(weight, inputs, outputs),
            );
        }
        wide(
            #[inline(always)]
            || self.turn_out(after, tiles, whole),
        );
    }

    /// Adds the gradient of the turned weight, `[points, inputs, outputs]`, to `sums`, and those of a
    /// group of images to `below`.
    ///
    /// # Shapes
    ///
    /// As in [`Self::multiply_tiles`]; `whole` is the gradient at what it yields.
    pub(super) fn multiply_tiles_back(
        &self,
        images: &[f32],
        prepared: &[f32],
        products: &mut [f32],
        whole: &[f32],
        sums: &mut [f32],
        below: Option<&mut [f32]>,
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let tiles = images.len() / self.in_len() * self.tiles();
        let (before, after) = products.split_at_mut(POINTS * tiles * inputs);
        let after = &mut after[..POINTS * tiles * outputs];
        wide(
            #[inline(always)]
            || {
                self.turn_images(images, tiles, before);
                self.turn_out_back(whole, tiles, after);
            },
        );
        let each = before
            .chunks_exact(tiles * inputs)
            .zip(after.chunks_exact(tiles * outputs))
            .zip(sums.chunks_exact_mut(inputs * outputs));
        for ((before, after), sums) in each {
            let before = Matrix::new(before, tiles, inputs);
            Columns::new(sums, inputs, outputs)
                .add_product(before.transposed(), Matrix::new(after, tiles, outputs));
        }
        let Some(below) = below else {
            return;
        };
        let up = &prepared[self.tile_weights_len()..];
        let each = before
            .chunks_exact_mut(tiles * inputs)
            .zip(after.chunks_exact(tiles * outputs))
            .zip(up.chunks_exact(inputs * outputs));
        for ((before, after), weight) in each {
            Columns::new(before, tiles, inputs).product(
                Matrix::new(after, tiles, outputs),
                Matrix::new(weight, outputs, inputs),
            );
        }
        wide(
            #[inline(always)]
            || self.turn_images_back(before, tiles, below),
        );
    }

    /// `Bᵀ d B` of every tile.
    #[inline(always)]
    fn turn_images(&self, images: &[f32], tiles: usize, to: &mut [f32]) {
        let (frame, to) = (self.in_frame(), lanes_mut(to));
        for tile in 0..tiles {
            let (image, at) = self.tile(tile);
            let image = lanes(&images[image * self.in_len()..][..self.in_len()]);
            let places = frame.square::<4>(at);
            for depth in 0..frame.depth {
                let square = read(image, &places, depth);
                let place = Place::of(tile, tiles, (depth, frame.depth));
                place.write(both!(of_image, square, [0 1 2 3] => [0 1 2 3]), to);
            }
        }
    }

    /// Adds `B v Bᵀ` of every tile to the places that it was made of.
    #[inline(always)]
    fn turn_images_back(&self, from: &[f32], tiles: usize, images: &mut [f32]) {
        let (frame, from) = (self.in_frame(), lanes(from));
        for tile in 0..tiles {
            let (image, at) = self.tile(tile);
            let image = lanes_mut(&mut images[image * self.in_len()..][..self.in_len()]);
            let places = frame.square::<4>(at);
            for depth in 0..frame.depth {
                let place = Place::of(tile, tiles, (depth, frame.depth));
                let square = both!(to_image, place.read(from), [0 1 2 3] => [0 1 2 3]);
                for row in 0..4 {
                    for column in 0..4 {
                        if let Some(start) = places[row][column] {
                            let to = &mut image[start + depth];
                            *to = plus(*to, square[row][column]);
                        }
                    }
                }
            }
        }
    }

    /// `Aᵀ m A` of every tile.
    #[inline(always)]
    fn turn_out(&self, from: &[f32], tiles: usize, wholes: &mut [f32]) {
        let (frame, from) = (self.out_frame(), lanes(from));
        for tile in 0..tiles {
            let (image, at) = self.tile(tile);
            let whole = lanes_mut(&mut wholes[image * self.whole_len()..][..self.whole_len()]);
            let places = frame.square::<STEP>(at);
            for depth in 0..frame.depth {
                let place = Place::of(tile, tiles, (depth, frame.depth));
                let square = both!(to_output, place.read(from), [0 1 2 3] => [0 1]);
                for row in 0..STEP {
                    for column in 0..STEP {
                        if let Some(start) = places[row][column] {
                            whole[start + depth] = square[row][column];
                        }
                    }
                }
            }
        }
    }

    /// `A y Aᵀ` of every tile's gradient.
    #[inline(always)]
    fn turn_out_back(&self, wholes: &[f32], tiles: usize, to: &mut [f32]) {
        let (frame, to) = (self.out_frame(), lanes_mut(to));
        for tile in 0..tiles {
            let (image, at) = self.tile(tile);
            let whole = lanes(&wholes[image * self.whole_len()..][..self.whole_len()]);
            let places = frame.square::<STEP>(at);
            for depth in 0..frame.depth {
                let square = read(whole, &places, depth);
                let place = Place::of(tile, tiles, (depth, frame.depth));
                place.write(both!(of_output, square, [0 1] => [0 1 2 3]), to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::curve::Curve;
    use super::super::block_work::convolve;
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 37 + seed * 11) % 101) as f32 / 101.0 - 0.5;
        (0..count).map(number).collect()
    }

    fn convolution(
        (inputs, outputs): (usize, usize),
        (height, width): (usize, usize),
        padding: usize,
    ) -> Convolution {
        Convolution {
            inputs,
            outputs,
            kernel: 3,
            stride: 1,
            padding,
            height,
            width,
            out_height: height + 2 * padding - 2,
            out_width: width + 2 * padding - 2,
            curve: Curve::default(),
            pool: None,
        }
    }

    /// Sums of so many terms round off as far as that.
    fn assert_close(what: &str, terms: usize, tiles: &[f32], windows: &[f32]) {
        let near = 2e-7 * terms as f32;
        assert_eq!(tiles.len(), windows.len());
        for (tiled, plain) in tiles.iter().zip(windows) {
            let error = (tiled - plain).abs();
            assert!(
                error < near * plain.abs().max(1.0),
                "{what}: {tiled} is not {plain}"
            );
        }
    }

    /// What tiles and what windows make of so many images: outputs, the gradient of the weight, and
    /// those of the images.
    fn compare(convolution: &Convolution, images: usize) {
        let what = format!("{convolution:?}, {images} images");
        let window = convolution.window();
        let weight = numbers(convolution.weight_len(), 1);
        let input = numbers(images * convolution.in_len(), 2);
        let slopes = numbers(images * convolution.out_len(), 3);

        let mut prepared = vec![f32::NAN; 2 * convolution.laid_out_len()];
        convolution.prepare(&weight, &mut prepared);
        let own = vec![0.0; convolution.outputs + weight.len()];
        let mut bench = vec![f32::NAN; convolution.bench_len()];
        let mut out = vec![f32::NAN; slopes.len()];
        let weights = (&own[..], &prepared[..]);
        convolve(convolution, &input, weights, &mut bench, &mut out, &mut []);
        let mut sums = vec![0.0; convolution.outputs + convolution.laid_out_len()];
        let mut below = vec![0.0; input.len()];
        let (in_len, out_len) = (convolution.in_len(), convolution.out_len());
        for first in (0..images).step_by(convolution.group()) {
            let count = convolution.group().min(images - first);
            let mut gradient = slopes[first * out_len..][..count * out_len].to_vec();
            convolution.backward(
                &input[first * in_len..][..count * in_len],
                &prepared,
                &mut convolution.bench(&mut bench),
                (&mut gradient, &[], &[]),
                &mut sums,
                Some(&mut below[first * in_len..][..count * in_len]),
            );
        }
        let mut moved = vec![0.0; weight.len()];
        let blocks = [&sums[convolution.outputs..]; 2];
        convolution.restore(blocks.into_iter(), &mut moved);

        let mut laid_out = vec![f32::NAN; 2 * weight.len()];
        convolution.prepare_windows(&weight, &mut laid_out);
        let mut windows = vec![f32::NAN; convolution.windows_len()];
        let mut plain_sums = vec![0.0; weight.len()];
        for image in 0..images {
            let input = &input[image * in_len..][..in_len];
            let slopes = &slopes[image * out_len..][..out_len];
            let mut plain = vec![f32::NAN; out_len];
            convolution.multiply_windows(input, &laid_out, &mut windows, &mut plain);
            assert_close(&what, window, &out[image * out_len..][..out_len], &plain);
            let mut plain = vec![0.0; in_len];
            convolution.multiply_windows_back(
                input,
                &laid_out,
                &mut windows,
                slopes,
                &mut plain_sums,
                Some(&mut plain),
            );
            assert_close(&what, window, &below[image * in_len..][..in_len], &plain);
        }
        let mut plain = vec![0.0; weight.len()];
        convolution.restore_windows(&plain_sums, &mut plain);
        convolution.restore_windows(&plain_sums, &mut plain);
        let places = blocks.len() * images * convolution.places();
        assert_close(&what, window.max(places), &moved, &plain);
    }

    #[test]
    fn tiles_give_what_windows_give() {
        let mut tiled = 0;
        for channels in [(16, 16), (16, 32), (32, 16)] {
            for (height, width) in [(1, 2), (2, 3), (3, 3), (4, 6), (5, 4), (14, 14)] {
                for padding in [0, 1, 2] {
                    if height.min(width) + 2 * padding < 3 {
                        continue;
                    }
                    let convolution = convolution(channels, (height, width), padding);
                    if convolution.is_tiled() {
                        tiled += 1;
                        for images in [1, convolution.group() + 1] {
                            compare(&convolution, images);
                        }
                    }
                }
            }
        }
        assert!(tiled > 20, "{tiled} shapes are tiled");
    }

    #[test]
    fn few_places_and_odd_channels_are_left_to_windows() {
        let is_tiled = |channels, sides| convolution(channels, sides, 1).is_tiled();
        assert!(is_tiled((16, 32), (14, 14)));
        assert!(!is_tiled((16, 24), (14, 14)));
        assert!(!is_tiled((1, 32), (14, 14)));
        assert!(
            !is_tiled((16, 16), (1, 1)),
            "a tile would take more products"
        );
        assert!(!is_tiled((16, 16), (2, 2)), "there is one tile");
    }
}
