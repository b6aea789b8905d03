//! The orchestrator at its seams: the run store's file, the workers' stream, the artifacts.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod worker;
mod world;

mod facts;
mod garbage;
mod numbers;
mod pauses;
mod recovery;
mod refusals;
mod replays;
mod retries;
mod schema;
mod sharing;
mod spans;
mod wire;
