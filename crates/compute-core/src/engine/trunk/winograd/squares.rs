//! Squares of lanes: read, turned, written.

use super::super::super::lanes::LANES;

/// Neighbouring channels.
pub(super) type Lane = [f32; LANES];

pub(super) const ZERO: Lane = [0.0; LANES];

/// Numbers, lane by lane. The channels fill lanes.
#[inline(always)]
pub(super) fn lanes(numbers: &[f32]) -> &[Lane] {
    numbers.as_chunks().0
}

#[inline(always)]
pub(super) fn lanes_mut(numbers: &mut [f32]) -> &mut [Lane] {
    numbers.as_chunks_mut().0
}

#[inline(always)]
pub(super) fn plus(mut one: Lane, other: Lane) -> Lane {
    for lane in 0..LANES {
        one[lane] += other[lane];
    }
    one
}

#[inline(always)]
fn minus(mut one: Lane, other: Lane) -> Lane {
    for lane in 0..LANES {
        one[lane] -= other[lane];
    }
    one
}

#[inline(always)]
fn half(mut one: Lane) -> Lane {
    for x in &mut one {
        *x *= 0.5;
    }
    one
}

/// `Bᵀ d`
#[inline(always)]
pub(super) fn of_image([d0, d1, d2, d3]: [Lane; 4]) -> [Lane; 4] {
    [minus(d0, d2), plus(d1, d2), minus(d2, d1), minus(d1, d3)]
}

/// `B v`
#[inline(always)]
pub(super) fn to_image([v0, v1, v2, v3]: [Lane; 4]) -> [Lane; 4] {
    [
        v0,
        plus(minus(v1, v2), v3),
        minus(plus(v1, v2), v0),
        minus(ZERO, v3),
    ]
}

/// `Aᵀ m`
#[inline(always)]
pub(super) fn to_output([m0, m1, m2, m3]: [Lane; 4]) -> [Lane; 2] {
    [plus(plus(m0, m1), m2), minus(minus(m1, m2), m3)]
}

/// `A y`
#[inline(always)]
pub(super) fn of_output([y0, y1]: [Lane; 2]) -> [Lane; 4] {
    [y0, plus(y0, y1), minus(y0, y1), minus(ZERO, y1)]
}

/// `G g`
#[inline(always)]
pub(super) fn of_kernel([g0, g1, g2]: [Lane; 3]) -> [Lane; 4] {
    let sum = plus(g0, g2);
    [g0, half(plus(sum, g1)), half(minus(sum, g1)), g2]
}

/// `Gᵀ u`
#[inline(always)]
pub(super) fn to_kernel([u0, u1, u2, u3]: [Lane; 4]) -> [Lane; 3] {
    let (sum, difference) = (half(plus(u1, u2)), half(minus(u1, u2)));
    [plus(u0, sum), difference, plus(sum, u3)]
}

/// Turns the rows of a square, then its columns; says which rows there are, and which come of it.
///
/// Every lane stays in a register only where no loop goes over rows.
macro_rules! both {
    ($turn:ident, $square:expr, [$($row:literal)*] => [$($turned:literal)*]) => {{
        let square = $square;
        let columns = squares::exchanged([$($turn(square[$row])),*]);
        squares::exchanged([$($turn(columns[$turned])),*])
    }};
}
pub(super) use both;

/// Rows for columns.
#[inline(always)]
pub(super) fn exchanged<const N: usize, const M: usize>(square: [[Lane; M]; N]) -> [[Lane; N]; M] {
    let mut columns = [[ZERO; N]; M];
    for row in 0..N {
        for column in 0..M {
            columns[column][row] = square[row][column];
        }
    }
    columns
}

/// The lanes of one tile in a matrix for each point, `[points, tiles, channels]`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Of the first point.
    start: usize,
    /// From one point to the next.
    stride: usize,
}

impl Place {
    /// Of tile `tile` of `tiles`, at one lane of so many.
    #[inline(always)]
    pub(super) fn of(tile: usize, tiles: usize, (depth, depths): (usize, usize)) -> Self {
        Self {
            start: tile * depths + depth,
            stride: tiles * depths,
        }
    }

    #[inline(always)]
    pub(super) fn read(self, from: &[Lane]) -> [[Lane; 4]; 4] {
        let mut square = [[ZERO; 4]; 4];
        for row in 0..4 {
            for column in 0..4 {
                square[row][column] = from[self.start + (4 * row + column) * self.stride];
            }
        }
        square
    }

    #[inline(always)]
    pub(super) fn write(self, square: [[Lane; 4]; 4], to: &mut [Lane]) {
        for row in 0..4 {
            for column in 0..4 {
                to[self.start + (4 * row + column) * self.stride] = square[row][column];
            }
        }
    }
}

/// An image, place by place.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) height: usize,
    pub(super) width: usize,
    /// Lanes of a place.
    pub(super) depth: usize,
    /// Zeros before its first row and its first column.
    pub(super) padding: usize,
}

impl Frame {
    /// Where the lanes of place `(y, x)` are, counted from the padding on, if that is in the image.
    #[inline(always)]
    fn find(&self, y: usize, x: usize) -> Option<usize> {
        let (y, x) = (y.wrapping_sub(self.padding), x.wrapping_sub(self.padding));
        (y < self.height && x < self.width).then(|| (y * self.width + x) * self.depth)
    }

    /// Where the lanes of a square are whose first place is `(y, x)`.
    #[inline(always)]
    pub(super) fn square<const N: usize>(&self, (y, x): (usize, usize)) -> [[Option<usize>; N]; N] {
        let mut places = [[None; N]; N];
        for (dy, places) in places.iter_mut().enumerate() {
            for (dx, place) in places.iter_mut().enumerate() {
                *place = self.find(y + dy, x + dx);
            }
        }
        places
    }
}

/// A lane of each place of a square; zeros outside of the image.
#[inline(always)]
pub(super) fn read<const N: usize>(
    image: &[Lane],
    places: &[[Option<usize>; N]; N],
    depth: usize,
) -> [[Lane; N]; N] {
    let mut square = [[ZERO; N]; N];
    for dy in 0..N {
        for dx in 0..N {
            if let Some(start) = places[dy][dx] {
                square[dy][dx] = image[start + depth];
            }
        }
    }
    square
}
