//! Data sets: from a file of text to rows that clients train on.

pub mod scaling;
pub mod split;
pub mod table;
