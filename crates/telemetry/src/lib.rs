//! The wiring shaft: metrics, traces, logs, errors, health.
//!
//! What every service has in common for the people who run it. It knows nothing of runs and rounds.

mod causes;
pub mod config;
pub mod export;
pub mod health;
mod host;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod operations;
pub mod process;
pub mod reports;
pub mod rpc;
mod service;
pub mod trace;

pub use causes::{Causes, in_a_line};
pub use host::{Host, Household};
pub use service::Telemetry;
