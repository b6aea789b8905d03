//! Tasks to workers, at least once, under leases.
//!
//! A task is sent, received under a lease, and acknowledged. A lease that runs out, or is given
//! back, makes the task visible again, so each task is delivered until someone acknowledges it, or
//! until it was delivered so often that it is dead and left to its sender. What a task means is for
//! others to know: bodies are bytes.

mod counted;
mod memory;
mod message;
mod metrics;
mod pinned;
mod queue;
mod sqs;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

pub use counted::Counted;
pub use memory::MemoryQueue;
pub use message::{BODY_LIMIT, Delivery, Depth, LeaseHandle, TaskMessage};
pub use metrics::Metrics;
pub use pinned::{PINNED_TO, PinnedQueue};
pub use queue::{MAX_DELIVERIES, QueueError, TaskQueue};
pub use sqs::{OpenError, SqsQueue, SqsQueueConfig};
