//! An update that is measured on its way into the fold, which reads each number of it once.

use std::io;
use std::sync::{Mutex, PoisonError};

use aggregation::{TensorSource, sum_of_squares};

/// A source and the squares of all that was read from it.
pub(super) struct Measured<S> {
    source: S,
    squares: Mutex<f64>,
}

impl<S> Measured<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            squares: Mutex::new(0.0),
        }
    }

    /// The Euclidean norm of what was read. Its last bits depend on the order in which threads
    /// read; nothing but a metric is made of it.
    pub(super) fn norm(&self) -> f64 {
        self.squares
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sqrt()
    }
}

impl<S: TensorSource> TensorSource for Measured<S> {
    fn read(&self, offset: usize, out: &mut [f32]) -> io::Result<()> {
        self.source.read(offset, out)?;
        let squares = sum_of_squares(out);
        *self.squares.lock().unwrap_or_else(PoisonError::into_inner) += squares;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aggregation::SliceSource;

    use super::*;

    #[test]
    fn the_norm_is_that_of_all_that_was_read() {
        let numbers: Vec<f32> = (0..19_u8).map(f32::from).collect();
        let measured = Measured::new(SliceSource(&numbers));
        let (mut first, mut second) = ([0.0; 10], [0.0; 9]);
        measured.read(10, &mut second).unwrap();
        measured.read(0, &mut first).unwrap();
        // 0² + 1² + … + 18² = 2109, exactly.
        assert!((measured.norm() - 2109.0_f64.sqrt()).abs() < 1e-12);
    }
}
