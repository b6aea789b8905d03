//! The study: jobs, rounds, aggregation.
//!
//! The orchestrator decides. It keeps facts in the run store and bytes in the artifacts, hands
//! tasks to workers, judges what they report, and folds it into the next model. The modules below
//! are listed in the order in which a run's data moves through them.

pub mod admit;
pub mod aggregate;
pub mod api;
pub mod app;
pub mod backends;
pub mod checkpoint;
pub mod close;
pub mod collect;
pub mod config;
pub mod data_dir;
pub mod datasets;
pub mod dispatch;
pub mod evaluate;
pub mod fleet;
pub mod generate;
pub mod leading;
pub mod lineage;
pub mod metrics;
pub mod poison;
pub mod problem;
pub mod publish;
pub mod reconciler;
pub mod replay;
pub mod retention;
pub mod store;
pub mod study;
pub mod submit;
pub mod trace;
pub mod updates;
pub mod writing;

pub use app::{Orchestrator, Wiring};
pub use config::Config;
