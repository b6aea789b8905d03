//! The worker's remote queue and store against what the orchestrator serves, over a pipe.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod served;

mod queue;
mod store;
