//! The orchestrator's queue and store, called over gRPC: all that a worker needs, at one address.

mod queue;
mod store;

pub use queue::RemoteQueue;
pub use store::RemoteStore;
