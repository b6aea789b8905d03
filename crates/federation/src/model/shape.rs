//! What stands between two layers: features, an image or a sequence.

use std::fmt;

/// Most numbers that one row may have as an image or a sequence: 2²⁴, 64 MiB. A training holds
/// several such rows for each layer.
pub const ROW_VALUES_MAX: usize = 1 << 24;

/// The shape of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `[width]`
    Features(usize),
    /// `[channels, height, width]`
    Image {
        /// Numbers per place.
        channels: usize,
        /// Rows of places.
        height: usize,
        /// Columns of places.
        width: usize,
    },
    /// `[positions, width]`
    Sequence {
        /// How long it is.
        positions: usize,
        /// Numbers per position.
        width: usize,
    },
}

impl Shape {
    /// How many numbers it holds; as many as fit a `usize` where there are more.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Features(width) => width,
            Self::Image {
                channels,
                height,
                width,
            } => channels.saturating_mul(height).saturating_mul(width),
            Self::Sequence { positions, width } => positions.saturating_mul(width),
        }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether a row of it is larger than we hold.
    pub(super) fn is_too_large(self) -> bool {
        !matches!(self, Self::Features(_)) && self.len() > ROW_VALUES_MAX
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(width) => write!(f, "{width} features"),
            Self::Image {
                channels,
                height,
                width,
            } => write!(f, "an image of {channels} × {height} × {width}"),
            Self::Sequence { positions, width } => {
                write!(f, "a sequence of {positions} × {width}")
            }
        }
    }
}
