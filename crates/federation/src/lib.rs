//! The rules of a run: what a job may say, how rounds open, fill and close, which updates count.
//!
//! Pure functions and plain data. Time comes in as a [`Timestamp`], chance as a seed; what should
//! happen comes out as a value. No clock, no network, no storage, no async.

pub mod acceptance;
pub mod cohort;
pub mod digest;
pub mod event;
pub mod fraction;
pub mod ids;
pub mod job;
pub mod kernel_class;
pub mod local;
pub mod model;
pub mod partition;
pub mod round;
pub mod run;
pub mod seed;
pub mod stop;
pub mod time;

pub use digest::Digest;
pub use ids::{ClientId, RunId, TaskId, WorkerId};
pub use kernel_class::KernelClass;
pub use time::Timestamp;
