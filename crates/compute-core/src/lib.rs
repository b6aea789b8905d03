//! The engine room: numbers into numbers.

pub mod engine;
