//! Views of row-major matrices, and their product.
//!
//! The only file that hands out raw memory: a view's bounds are checked where it is made, so that
//! the product and the column tiles are safe to use from several threads.
#![expect(
    unsafe_code,
    reason = "column tiles of one buffer are disjoint but interleaved, and gemm takes pointers"
)]

use std::marker::PhantomData;

use super::kernels::{Kernels, Operand, Product};

/// A matrix to read, with strides, so that transposing it costs nothing.
///
/// Invariant: every element `(row, column)` within the bounds lies within `values`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Reads `values` as `[rows, columns]`, row-major.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns));
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// Reads `[rows, columns]` out of rows that begin `stride` apart.
    pub(super) fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(columns <= stride && (rows == 0 || values.len() >= (rows - 1) * stride + columns));
        Self {
            values,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The same numbers with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// `count` columns from column `start` on.
    pub(super) fn columns(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.columns);
        let values = if count == 0 || self.rows == 0 {
            &[]
        } else {
            &self.values[start * self.column_stride..]
        };
        Self {
            values,
            columns: count,
            ..self
        }
    }

    /// `count` rows from row `start` on.
    pub(super) fn rows(self, start: usize, count: usize) -> Self {
        self.transposed().columns(start, count).transposed()
    }

    /// One row of a matrix that was not transposed.
    pub(super) fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows && self.column_stride == 1);
        &self.values[row * self.row_stride..][..self.columns]
    }

    pub(super) fn num_rows(&self) -> usize {
        self.rows
    }

    fn operand(&self) -> Operand {
        Operand {
            start: self.values.as_ptr(),
            row_stride: signed(self.row_stride),
            column_stride: signed(self.column_stride),
        }
    }
}

/// A range of columns of a row-major matrix, to write.
///
/// Invariant: the elements `start + row * stride + column` within the bounds belong to a slice
/// borrowed mutably for `'a`, and to this view alone.
pub(super) struct Columns<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Columns` is the only way to its elements for 'a, as a `&mut [f32]` would be.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// All columns of `values`, `[rows, columns]`, row-major.
    pub(super) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns));
        Self {
            start: values.as_mut_ptr(),
            rows,
            columns,
            stride: columns,
            owner: PhantomData,
        }
    }

    /// Tiles of at most `width` columns, from left to right, each with its first column.
    pub(super) fn tiles(self, width: usize) -> impl Iterator<Item = (usize, Self)> + Send {
        assert!(width > 0);
        let Self {
            rows,
            columns,
            stride,
            owner,
            ..
        } = self;
        let whole = self;
        (0..columns).step_by(width).map(move |first| {
            let whole: &Self = &whole;
            let tile = Self {
                start: whole.start.wrapping_add(first),
                rows,
                columns: width.min(columns - first),
                stride,
                owner,
            };
            (first, tile)
        })
    }

    /// `count` columns of the range, from `first` on.
    pub(super) fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns);
        Self {
            start: self.start.wrapping_add(first),
            columns: count,
            ..self
        }
    }

    /// `count` rows of the range, from `first` on.
    pub(super) fn rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows);
        Self {
            start: self.start.wrapping_add(first * self.stride),
            rows: count,
            ..self
        }
    }

    /// The first `count` columns, and the others.
    pub(super) fn split_at(self, count: usize) -> (Self, Self) {
        assert!(count <= self.columns);
        let others = Self {
            start: self.start.wrapping_add(count),
            columns: self.columns - count,
            ..self
        };
        let first = Self {
            columns: count,
            ..self
        };
        (first, others)
    }

    /// One row of the range.
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: by the invariant the range is in bounds and ours alone, and `&mut self` keeps
        // other rows of this view from being borrowed at the same time.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.wrapping_add(row * self.stride), self.columns)
        }
    }

    pub(super) fn num_rows(&self) -> usize {
        self.rows
    }

    pub(super) fn num_columns(&self) -> usize {
        self.columns
    }

    /// Overwrites the range with the product `left · right`.
    ///
    /// # Shapes
    ///
    /// - `left`: `[rows, n]`
    /// - `right`: `[n, columns]`
    pub(super) fn product(&mut self, left: Matrix<'_>, right: Matrix<'_>) {
        self.multiply(left, right, false);
    }

    /// Adds the product `left · right` to the range; shapes as in [`Self::product`].
    pub(super) fn add_product(&mut self, left: Matrix<'_>, right: Matrix<'_>) {
        self.multiply(left, right, true);
    }

    fn multiply(&mut self, left: Matrix<'_>, right: Matrix<'_>, add: bool) {
        assert_eq!(
            (left.rows, left.columns, right.columns),
            (self.rows, right.rows, self.columns)
        );
        let product = Product {
            rows: self.rows,
            depth: left.columns,
            columns: self.columns,
            start: self.start,
            stride: signed(self.stride),
            left: left.operand(),
            right: right.operand(),
            add,
        };
        // SAFETY: the shapes fit (asserted); both operands lie within their slices and the range
        // within ours by the invariants, and a range written mutably overlaps neither operand.
        unsafe { product.compute(Kernels::current()) }
    }
}

/// A stride as `gemm` takes it. Strides are widths of slices in memory, which fit by themselves.
fn signed(stride: usize) -> isize {
    stride.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_a_product_are_the_product() {
        let left: Vec<f32> = (0..6).map(|x| x as f32).collect(); // [2, 3]
        let right: Vec<f32> = (0..12).map(|x| x as f32).collect(); // [4, 3]
        let mut out = vec![f32::NAN; 8]; // [2, 4]
        let right = Matrix::new(&right, 4, 3);
        for (first, mut tile) in Columns::new(&mut out, 2, 4).tiles(3) {
            let columns = tile.num_columns();
            let own = right.rows(first, columns).transposed();
            tile.product(Matrix::new(&left, 2, 3), own);
        }
        assert_eq!(out, [5.0, 14.0, 23.0, 32.0, 14.0, 50.0, 86.0, 122.0]);
    }

    /// On processors with other caches too, which `gemm` asks for the length of a part.
    #[test]
    fn a_long_product_is_summed_in_parts_that_no_cache_decides() {
        let number = |i: usize| ((i * 37) % 101) as f32 / 101.0 - 0.4;
        let (rows, depth, columns) = (3, 1300, 5);
        let left: Vec<f32> = (0..rows * depth).map(number).collect();
        let right: Vec<f32> = (0..depth * columns).map(|i| number(i + 7)).collect();
        let (left, right) = (
            Matrix::new(&left, rows, depth),
            Matrix::new(&right, depth, columns),
        );
        for kernels in Kernels::available() {
            let (mut whole, mut parts) = (vec![f32::NAN; 15], vec![0.0; 15]);
            kernels.run(|| {
                Columns::new(&mut whole, rows, columns).product(left, right);
                for (start, count) in [(0, 434), (434, 434), (868, 432)] {
                    let (left, right) = (left.columns(start, count), right.rows(start, count));
                    Columns::new(&mut parts, rows, columns).add_product(left, right);
                }
            });
            assert_eq!(whole, parts, "{kernels:?}");
        }
    }

    #[test]
    fn portable_kernels_are_the_plain_loop() {
        let number = |i: usize| ((i * 37) % 101) as f32 / 101.0 - 0.4;
        let (left, right): (Vec<f32>, Vec<f32>) =
            (0..70 * 300).map(|i| (number(i), number(i + 7))).unzip();
        let portable = Kernels::of(federation::KernelClass::Portable).unwrap();
        let mut out = vec![f32::NAN; 70 * 70];
        let (rows, columns) = (Matrix::new(&left, 70, 300), Matrix::new(&right, 300, 70));
        portable.run(|| Columns::new(&mut out, 70, 70).product(rows, columns));
        for (at, own) in out.iter().enumerate() {
            let terms = (0..300).map(|k| left[at / 70 * 300 + k] * right[k * 70 + at % 70]);
            let sum = terms.fold(0.0_f32, |sum, term| sum + term);
            assert_eq!(own.to_bits(), sum.to_bits());
        }
    }

    #[test]
    fn tiles_write_their_own_columns_only() {
        let mut out = vec![0.0; 10];
        for (first, mut tile) in Columns::new(&mut out, 2, 5).tiles(2) {
            for row in 0..2 {
                tile.row(row).fill(first as f32);
            }
        }
        assert_eq!(out, [0.0, 0.0, 2.0, 2.0, 4.0, 0.0, 0.0, 2.0, 2.0, 4.0]);
    }
}
