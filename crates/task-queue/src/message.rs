//! What travels through a queue.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use clock::Timestamp;

use crate::QueueError;

/// Most bytes of one message, body and attributes together: 256 KiB, as SQS has long allowed.
/// Tasks carry references, so larger ones are a mistake.
pub const BODY_LIMIT: usize = 256 * 1024;

/// A task on its way into the queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskMessage {
    /// The task itself.
    pub body: Bytes,
    /// Short texts beside the body, such as the trace context. SQS takes ten at most, named with
    /// letters, digits, `_`, `-` and `.`, and no empty text.
    pub attributes: BTreeMap<String, String>,
}

impl TaskMessage {
    /// Refuses a message over [`BODY_LIMIT`]; every backend asks this before it sends.
    ///
    /// # Errors
    ///
    /// [`QueueError::BodyTooLarge`].
    pub fn check_size(&self) -> Result<(), QueueError> {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let size = self.body.len() + attributes;
        if size > BODY_LIMIT {
            return Err(QueueError::BodyTooLarge {
                size,
                limit: BODY_LIMIT,
            });
        }
        Ok(())
    }
}

/// The handle of one delivery. Only the backend that wrote it can read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseHandle(pub String);

impl fmt::Display for LeaseHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A task in the hands of one receiver, for as long as its lease holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The task itself.
    pub body: Bytes,
    /// The attributes it was sent with.
    pub attributes: BTreeMap<String, String>,
    /// What to extend, give back or acknowledge with.
    pub handle: LeaseHandle,
    /// Counts deliveries of this task, from 1.
    pub epoch: u32,
    /// When the task was sent.
    pub sent_at: Timestamp,
}

/// How much is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Tasks that the next receiver would get.
    pub visible: u64,
    /// Tasks hidden under a lease, or given back and waiting out their delay.
    pub leased: u64,
    /// Tasks delivered as often as the queue allows, under a lease or not.
    pub dead: u64,
    /// Time since the oldest task that is not dead was sent. `None` where there is none, or for a
    /// backend that cannot tell.
    pub oldest_age: Option<Duration>,
}
