//! The wiring shaft: logs, metrics encoding, the operations endpoint.
//!
//! What every service has in common for the people who run it. It knows nothing of runs and rounds.

pub mod config;
pub mod errors;
pub mod export;
pub mod logs;
pub mod metrics;
pub mod operations;
pub mod process;
mod readiness;
pub mod rpc;
mod service;
pub mod trace;

pub use readiness::{Check, Readiness};
pub use service::Telemetry;
