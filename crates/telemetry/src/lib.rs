//! The wiring shaft: logs, metrics encoding, the operations endpoint.
//!
//! What every service has in common for the people who run it. It knows nothing of runs and rounds.

pub mod config;
pub mod logs;
pub mod operations;
pub mod process;
pub mod metrics;
mod readiness;

pub use readiness::{Check, Readiness};
