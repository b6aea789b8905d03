//! The arithmetic of updates: weighted folds in f64, tile by tile.
//!
//! Pure: no clock, no network; files only as sources of numbers. The same contributions give the
//! same bits, whatever their order of arrival and however many threads fold them.

mod fold;
mod source;
mod sums;
mod tile;

pub use fold::{Contribution, FoldError, FoldReport, WEIGHT_MAX, fold};
pub use source::{FileSource, SliceSource, TensorSource};
pub use sums::sum_of_squares;
pub use tile::TILE;
