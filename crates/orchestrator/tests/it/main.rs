//! The orchestrator at its seams: the run store, the workers' stream, the artifacts.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod backlog;
mod carried;
mod commits;
mod home;
mod relay;
mod worker;
mod world;

mod behind;
mod capacity;

mod facts;
mod garbage;
mod leading;
mod numbers;
mod outages;
mod pauses;
mod pins;
mod recovery;
mod refusals;
mod repeats;
mod replays;
mod retries;
mod schema;
mod sharing;
mod spans;
mod values;
mod wire;
