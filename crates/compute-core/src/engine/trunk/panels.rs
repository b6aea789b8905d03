//! Weights as products read them: panels of columns that the first-level cache holds.
//!
//! A product goes panel by panel, so that what it yields is still in the cache when a bias and a
//! curve are put on top.

use super::super::matrix::{Columns, Matrix};

/// Columns of a panel: the height of a register block of the AVX-512 kernels. With 128 rows a panel
/// takes 32 KiB.
const WIDTH: usize = 64;

/// A rest of fewer columns is part of the panel before it: on its own it would leave most of a
/// register block empty.
const REST_MIN: usize = 16;

/// The first column of each panel of `columns`, and how many it has.
fn panels(columns: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = match columns % WIDTH {
        rest if rest < REST_MIN => (columns / WIDTH).max(1),
        _ => columns / WIDTH + 1,
    };
    (0..count).map(move |index| {
        let first = index * WIDTH;
        match index + 1 == count {
            true => (first, columns - first),
            false => (first, WIDTH),
        }
    })
}

/// Lays `[rows, columns]` out in panels, one after the other, each row by row.
pub(super) fn lay_out(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    for (first, width) in panels(columns) {
        let panel = to[first * rows..].chunks_exact_mut(width);
        for (to, from) in panel.zip(from.chunks_exact(columns)) {
            to.copy_from_slice(&from[first..first + width]);
        }
    }
}

/// Lays the transpose of `[columns, rows]` out in panels.
pub(super) fn lay_out_transposed(from: &[f32], rows: usize, to: &mut [f32]) {
    for (first, width) in panels(from.len() / rows) {
        let (start, len) = (first * rows, width * rows);
        transpose(&from[start..][..len], rows, &mut to[start..][..len]);
    }
}

/// Gives `finish` each panel of `input · weights`, with its first column.
///
/// # Shapes
///
/// - `input`: `[_, rows]`
/// - `weights`: `[rows, columns]`, in panels
/// - `output`: `[_, columns]`, overwritten, or added to where `is_added` says so
pub(super) fn multiply(
    input: &[f32],
    weights: &[f32],
    (rows, columns): (usize, usize),
    (output, is_added): (&mut [f32], bool),
    mut finish: impl FnMut(usize, Columns<'_>),
) {
    let input = Matrix::new(input, input.len() / rows, rows);
    let mut rest = Columns::new(output, input.num_rows(), columns);
    for (first, width) in panels(columns) {
        let panel = Matrix::new(&weights[first * rows..][..width * rows], rows, width);
        let (mut tile, others) = rest.split_at(width);
        rest = others;
        match is_added {
            true => tile.add_product(input, panel),
            false => tile.product(input, panel),
        }
        finish(first, tile);
    }
}

/// Rows of a matrix that are turned together: a cache line of the other one.
const TURNED_TOGETHER: usize = 16;

/// `[_, columns]` to `[columns, _]`.
pub(super) fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    for first in (0..rows).step_by(TURNED_TOGETHER) {
        let count = TURNED_TOGETHER.min(rows - first);
        for column in 0..columns {
            let to = &mut to[column * rows + first..][..count];
            for (row, to) in to.iter_mut().enumerate() {
                *to = from[(first + row) * columns + column];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_columns_and_none_is_narrow() {
        for columns in 1..300 {
            let mut next = 0;
            for (first, width) in panels(columns) {
                assert_eq!(first, next);
                assert!(width >= REST_MIN.min(columns) && width < WIDTH + REST_MIN);
                next += width;
            }
            assert_eq!(next, columns);
        }
    }

    #[test]
    fn a_product_by_panels_is_the_product() {
        let (rows, columns) = (3, 90);
        let weight: Vec<f32> = (0..rows * columns).map(|i| (i % 7) as f32).collect();
        let mut turned = vec![0.0; weight.len()];
        transpose(&weight, columns, &mut turned);
        let input = [1.0, -2.0, 3.0, 0.5, 0.0, 4.0];
        let expected = |row: usize, column: usize| -> f32 {
            let terms = (0..rows).map(|k| input[row * rows + k] * weight[k * columns + column]);
            terms.sum()
        };
        for is_turned in [false, true] {
            let mut laid = vec![0.0; weight.len()];
            match is_turned {
                true => lay_out_transposed(&turned, rows, &mut laid),
                false => lay_out(&weight, columns, &mut laid),
            }
            let mut output = vec![1.0; 2 * columns];
            multiply(
                &input,
                &laid,
                (rows, columns),
                (&mut output, true),
                |first, mut tile| tile.row(1)[0] += first as f32,
            );
            for row in 0..2 {
                for column in 0..columns {
                    let first = if row == 1 && column == 64 { 64.0 } else { 0.0 };
                    let value = output[row * columns + column];
                    assert!((value - expected(row, column) - 1.0 - first).abs() < 1e-5);
                }
            }
        }
    }
}
