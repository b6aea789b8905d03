//! The engine room: numbers into numbers.
