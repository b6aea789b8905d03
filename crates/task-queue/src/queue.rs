//! The seam: what every queue does.

use std::fmt::Debug;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{Delivery, Depth, LeaseHandle, TaskMessage};

/// How often a task is delivered before it is dead, unless told otherwise. It leaves room for a few
/// workers that die of other causes. SQS advises against 1, for it counts a delivery whose answer
/// was lost on the way
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/avoiding-inconsistent-message-processing.html>).
pub const MAX_DELIVERIES: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

/// A queue of tasks with leases, delivering each at least once.
///
/// A task that was delivered as often as the queue allows, and was never acknowledged, is dead once
/// its last lease has ended: it is handed out by [`receive_dead`](Self::receive_dead) alone. Every
/// delivery counts, also one that was given back.
///
/// Held to the sentences of the `contract` module.
#[async_trait]
pub trait TaskQueue: Debug + Send + Sync {
    /// Puts tasks into the queue, in order; not every backend keeps it.
    ///
    /// After an error some of them may be in it; sending all again is right, for receivers count
    /// with repeats anyway.
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError>;

    /// Leases up to `max` tasks for `lease_ttl`, of those that are [pinned](crate::PINNED_TO) to
    /// nothing or to one of `pins`. A queue that tells no tasks apart leases any.
    ///
    /// Waits up to `wait` for a first one; empty when none came. Fewer than `max` is no sign that
    /// the queue is empty. Dropping the future loses no task.
    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError>;

    /// Leases up to `max` dead tasks for `lease_ttl`, until someone acknowledges them. Does not wait
    /// for any to die. Fewer than `max` is no sign that there are no others.
    ///
    /// A backend may find out that a task is dead only when [`receive`](Self::receive) comes upon
    /// it, so someone must go on receiving. The `epoch` of a dead task tells its deliveries apart
    /// and counts nothing.
    ///
    /// The dead are the business of who sends tasks. A worker's view of a queue, such as
    /// one over a network, hands out none, and need not say so.
    async fn receive_dead(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let _ = (max, lease_ttl);
        Ok(Vec::new())
    }

    /// Makes a lease end `lease_ttl` from now.
    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError>;

    /// Ends a lease, so that the task is visible again after `delay`.
    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError>;

    /// Takes a finished task out of the queue.
    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError>;

    /// How much is in the queue. Some backends answer with a recent estimate.
    async fn depth(&self) -> Result<Depth, QueueError>;

    /// How often the queue has lost all that was in it, and began anew. Who sent it sends it again
    /// when this changes.
    fn losses(&self) -> u64 {
        0
    }
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

impl From<io::Error> for QueueError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable {
            message: error.to_string(),
        }
    }
}
