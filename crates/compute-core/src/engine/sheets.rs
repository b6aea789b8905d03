//! Several matrices with one row per row of a batch, cut into blocks of rows.
#![expect(
    unsafe_code,
    reason = "blocks of rows of several matrices in one stretch of memory are disjoint but interleaved"
)]

use std::marker::PhantomData;

/// Row-major matrices in one stretch of memory, planned for a largest batch.
pub(super) struct Sheets {
    values: Vec<f32>,
    places: Vec<Place>,
    rows_max: usize,
}

#[derive(Clone, Copy)]
struct Place {
    start: usize,
    width: usize,
}

impl Sheets {
    /// One matrix of `rows_max` rows for each of `widths`.
    pub(super) fn new(widths: &[usize], rows_max: usize) -> Self {
        let mut end = 0;
        let places = widths.iter().map(|&width| {
            let start = end;
            end += width * rows_max;
            Place { start, width }
        });
        let places = places.collect();
        Self {
            values: vec![0.0; end],
            places,
            rows_max,
        }
    }

    /// The first `rows` rows of a matrix.
    pub(super) fn rows(&self, sheet: usize, rows: usize) -> &[f32] {
        assert!(rows <= self.rows_max);
        let Place { start, width } = self.places[sheet];
        &self.values[start..][..rows * width]
    }

    /// The same, to write.
    pub(super) fn rows_mut(&mut self, sheet: usize, rows: usize) -> &mut [f32] {
        assert!(rows <= self.rows_max);
        let Place { start, width } = self.places[sheet];
        &mut self.values[start..][..rows * width]
    }

    /// The first `rows` rows of all matrices, `block` by `block`.
    pub(super) fn blocks(
        &mut self,
        rows: usize,
        block: usize,
    ) -> impl Iterator<Item = Block<'_>> + Send {
        assert!(rows <= self.rows_max && block > 0);
        let all = Block {
            start: self.values.as_mut_ptr(),
            places: &self.places,
            first: 0,
            count: rows,
            owner: PhantomData,
        };
        (0..rows).step_by(block).map(move |first| {
            let all: &Block<'_> = &all;
            Block {
                start: all.start,
                places: all.places,
                first,
                count: block.min(rows - first),
                owner: PhantomData,
            }
        })
    }
}

/// Neighbouring rows of several matrices.
///
/// Invariant: rows `first..first + count` of every place lie within memory borrowed mutably for
/// `'a`, places do not overlap, and no other block has one of these rows.
pub(super) struct Block<'a> {
    start: *mut f32,
    places: &'a [Place],
    first: usize,
    count: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Block` is the only way to its elements for 'a, as a `&mut [f32]` would be.
unsafe impl Send for Block<'_> {}

impl Block<'_> {
    /// How many rows it has.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn part(&self, sheet: usize) -> (*mut f32, usize) {
        let Place { start, width } = self.places[sheet];
        let offset = start + self.first * width;
        (self.start.wrapping_add(offset), self.count * width)
    }

    /// Its rows of one matrix.
    pub(super) fn get(&self, sheet: usize) -> &[f32] {
        let (start, len) = self.part(sheet);
        // SAFETY: by the invariant the rows are in bounds and ours alone; `&self` lets nobody write.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The same, to write.
    pub(super) fn get_mut(&mut self, sheet: usize) -> &mut [f32] {
        let (start, len) = self.part(sheet);
        // SAFETY: by the invariant the rows are in bounds and ours alone, and `&mut self` keeps
        // every other slice of this block away.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Its rows of one matrix to read, and of another to write.
    pub(super) fn pair(&mut self, read: usize, write: usize) -> (&[f32], &mut [f32]) {
        assert_ne!(read, write);
        let ((from, from_len), (to, to_len)) = (self.part(read), self.part(write));
        // SAFETY: as in `get` and `get_mut`; two places do not overlap.
        unsafe {
            (
                std::slice::from_raw_parts(from, from_len),
                std::slice::from_raw_parts_mut(to, to_len),
            )
        }
    }

    /// Its rows of two matrices to read, which may be the same, and of another to write.
    pub(super) fn triple(
        &mut self,
        [one, other]: [usize; 2],
        write: usize,
    ) -> ([&[f32]; 2], &mut [f32]) {
        assert!(one != write && other != write);
        let ((to, to_len), this) = (self.part(write), &*self);
        // SAFETY: as in `get_mut`; what is read are other places.
        let to = unsafe { std::slice::from_raw_parts_mut(to, to_len) };
        ([this.get(one), this.get(other)], to)
    }

    /// Its rows of two matrices, to write.
    pub(super) fn pair_mut(&mut self, one: usize, other: usize) -> (&mut [f32], &mut [f32]) {
        assert_ne!(one, other);
        let ((one, one_len), (other, other_len)) = (self.part(one), self.part(other));
        // SAFETY: as in `get_mut`; two places do not overlap.
        unsafe {
            (
                std::slice::from_raw_parts_mut(one, one_len),
                std::slice::from_raw_parts_mut(other, other_len),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_rows_of_every_sheet() {
        let mut sheets = Sheets::new(&[2, 0, 1], 3);
        for (index, mut block) in sheets.blocks(3, 2).enumerate() {
            block.get_mut(0).fill(index as f32 + 1.0);
            let (read, write) = block.pair(0, 2);
            write.fill(read[0] * 10.0);
            assert!(block.get(1).is_empty());
        }
        assert_eq!(sheets.rows(0, 3), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(sheets.rows(2, 3), [10.0, 10.0, 20.0]);
    }
}
