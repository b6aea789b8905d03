//! The worker's remote queue and store against what the orchestrator serves, and what a worker shows of
//! itself while it does tasks.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod served;
mod workshop;

mod numbers;
mod queue;
mod reports;
mod slots;
mod standstill;
mod store;
mod traces;
