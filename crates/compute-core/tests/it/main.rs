//! compute-core as its callers see it: the service at one end of a pipe, `proto`'s calling side at
//! the other.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod core;

mod bodies;
mod calls;
mod numbers;
mod process;
mod slots;
mod traces;
