//! The arithmetic of updates: weighted folds in f64, tile by tile.
