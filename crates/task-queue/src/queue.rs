//! The seam: what every queue does.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{Delivery, Depth, LeaseHandle, TaskMessage};

/// A queue of tasks with leases, delivering each at least once.
///
/// Held to the sentences of the `contract` module.
#[async_trait]
pub trait TaskQueue: Debug + Send + Sync {
    /// Puts tasks into the queue, in order.
    ///
    /// After an error some of them may be in it; sending all again is right, for receivers count
    /// with repeats anyway.
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError>;

    /// Leases up to `max` tasks for `lease_ttl`.
    ///
    /// Waits up to `wait` for a first one; empty when none came. Fewer than `max` is no sign that
    /// the queue is empty. Dropping the future loses no task.
    async fn receive(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError>;

    /// Makes a lease end `lease_ttl` from now.
    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError>;

    /// Ends a lease, so that the task is visible again after `delay`.
    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError>;

    /// Takes a finished task out of the queue.
    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError>;

    /// How much is in the queue. Some backends answer with a recent estimate.
    async fn depth(&self) -> Result<Depth, QueueError>;
}

/// Why a queue did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueueError {
    /// The lease ran out, or was ended before. Someone else may hold the task by now.
    #[error("the lease {handle} is lost")]
    LeaseLost {
        /// The handle that names no living lease.
        handle: LeaseHandle,
    },
    /// References belong into tasks, not data.
    #[error("a task of {size} bytes is over the limit of {limit}")]
    BodyTooLarge {
        /// Bytes of body and attributes.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The queue is bounded, and at its bound.
    #[error("the queue already holds {capacity} tasks, as many as it may")]
    Full {
        /// Most tasks that it holds, visible and leased.
        capacity: usize,
    },
    /// The queue cannot be reached or cannot answer; later it may.
    #[error("the queue is not available: {message}")]
    Unavailable {
        /// What the backend said.
        message: String,
    },
}
