//! The workshop: leases tasks, fetches what they need, has compute-core train, and reports.
//!
//! A worker knows two addresses: the orchestrator's and its compute-core's. It keeps nothing that
//! could be lost; whatever it was doing when it died is done again by the next one.

pub mod app;
pub mod backoff;
pub mod config;
mod contribution;
pub mod curves;
pub mod lease;
pub mod metrics;
pub mod remote;
pub mod report;
pub mod session;
mod silence;
mod trace;
pub mod train;

pub use app::{TrainingWorker, Wiring};
pub use config::Config;
