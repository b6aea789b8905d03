//! The queue of Amazon SQS, or of what speaks like it.
//!
//! A standard queue of tasks, `NAME`, and one of dead tasks, `NAME-dead`, to which SQS moves what was
//! received too often. Leases are visibility timeouts: they run on the broker's clock, in whole
//! seconds, and none lasts longer than 12 hours after the task was received, however often it is
//! extended.
//!
//! What SQS cannot promise:
//!
//! - Order, and that a leased task is delivered to nobody else. It nearly always is not
//!   (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html>).
//! - To refuse a stale handle: it answers an acknowledgement with one as if it had done something.
//!   This process refuses its own, see `leases`; an acknowledgement with the handle of
//!   another one can go nowhere without anybody hearing of it, and the task is delivered again.
//! - A depth that is exact, or the age of the oldest task
//!   (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>).
//! - To keep a task from a receiver that no longer waits for it. Such a task returns after the lease
//!   that nobody holds, and has been delivered once more.
//! - To find that a task is dead before somebody would receive it again.

mod again;
mod leases;
mod message;
mod opening;
mod sending;
mod trace_header;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use aws_types::SdkConfig;
use telemetry::Causes;
use tokio::time::Instant;

use crate::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};
use again::Again;
use leases::{Held, Leases, Place};

pub use opening::{OpenError, SqsQueueConfig};

/// Longest lease, and longest time between a receipt and the end of its last extension.
///
/// # Source
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
const LEASE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Longest time for which SQS holds a call back until there is a task, and most tasks of an answer.
///
/// # Source
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const POLL_MAX: Duration = Duration::from_secs(20);
const RECEIVE_MAX: usize = 10;
/// The step of SQS's timers.
const SECOND: Duration = Duration::from_secs(1);

/// Tasks in a queue of SQS. Takes time from the system, as the broker does.
pub struct SqsQueue {
    client: Client,
    /// The address of the queue of tasks.
    tasks: String,
    /// The address of the queue of the dead.
    dead: String,
    /// Longest wait for an answer that SQS does not hold back, and longest time for all attempts.
    attempt: Duration,
    call: Duration,
    leases: Leases,
    again: Again,
}

impl SqsQueue {
    /// Finds the queue and its companion for dead tasks, or creates them where the configuration
    /// says so.
    ///
    /// The region, the credentials and the endpoint are those of `aws`, and so are timeouts and
    /// retries where it has any.
    ///
    /// # Errors
    ///
    /// [`OpenError`], with what would be right.
    pub async fn open(aws: &SdkConfig, queue: SqsQueueConfig) -> Result<Self, OpenError> {
        opening::open(aws, queue).await
    }

    fn url(&self, place: Place) -> &str {
        match place {
            Place::Tasks => &self.tasks,
            Place::Dead => &self.dead,
        }
    }

    /// Asks once; SQS answers when there is a task, or after `poll`, in whole seconds.
    async fn poll(
        &self,
        place: Place,
        max: NonZeroUsize,
        lease_ttl: Duration,
        poll: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let lease_ttl = whole_seconds(lease_ttl);
        let asking = self
            .client
            .receive_message()
            .queue_url(self.url(place))
            .max_number_of_messages(int(max.get().min(RECEIVE_MAX) as u64))
            .visibility_timeout(int(lease_ttl.as_secs()))
            .wait_time_seconds(int(poll.as_secs()))
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::AwsTraceHeader)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .customize()
            .config_override(opening::patient(poll, self.attempt, self.call));
        let answer = self.there(asking.send().await).await?;
        let now = Instant::now();
        let deliveries = answer.messages().iter().filter_map(message::received);
        let deliveries = deliveries.map(|received| Delivery {
            handle: self
                .leases
                .grant(place, received.id, received.receipt, lease_ttl, now),
            body: received.body,
            attributes: received.attributes,
            epoch: received.epoch,
            sent_at: received.sent_at,
        });
        Ok(deliveries.collect())
    }

    /// What the handle stands for, if it is not known to be stale.
    fn held<'a>(&self, handle: &'a LeaseHandle) -> Result<Held<'a>, QueueError> {
        self.leases
            .find(handle, Instant::now())
            .ok_or_else(|| lost(handle))
    }

    /// Makes a leased task visible `span` from now.
    async fn hide(
        &self,
        handle: &LeaseHandle,
        held: &Held<'_>,
        span: Duration,
    ) -> Result<(), QueueError> {
        let asking = self
            .client
            .change_message_visibility()
            .queue_url(self.url(held.place))
            .receipt_handle(held.receipt)
            .visibility_timeout(int(span.as_secs()));
        let hidden = asking.send().await;
        hidden
            .map(drop)
            .map_err(|error| lost_or_unavailable(&error, handle))
    }

    /// How many messages a queue has: visible, and hidden.
    async fn count(&self, place: Place) -> Result<(u64, u64), QueueError> {
        let asking = self
            .client
            .get_queue_attributes()
            .queue_url(self.url(place))
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed);
        let answer = self.there(asking.send().await).await?;
        let number = |name| -> u64 {
            let number = answer.attributes().and_then(|all| all.get(&name));
            number.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let hidden = number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            + number(QueueAttributeName::ApproximateNumberOfMessagesDelayed);
        Ok((
            number(QueueAttributeName::ApproximateNumberOfMessages),
            hidden,
        ))
    }
}

#[async_trait]
impl TaskQueue for SqsQueue {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        for message in &messages {
            message.check_size()?;
        }
        let sent = sending::send(&self.client, &self.tasks, &messages).await;
        match sent {
            Ok(()) => Ok(()),
            Err(failure) => {
                if failure.is_gone {
                    self.again.gone().await;
                }
                Err(failure.error)
            }
        }
    }

    async fn receive(
        &self,
        _: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let start = Instant::now();
        loop {
            let left = wait.saturating_sub(start.elapsed()).min(POLL_MAX);
            let deliveries = self.poll(Place::Tasks, max, lease_ttl, left).await?;
            let left = wait.saturating_sub(start.elapsed());
            if !deliveries.is_empty() || left.is_zero() {
                return Ok(deliveries);
            }
            // SQS does not wait for less, so look once more at the end.
            if left < SECOND {
                tokio::time::sleep(left).await;
            }
        }
    }

    /// Takes a second where there are none: only a call that waits asks all servers of SQS
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
    async fn receive_dead(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.poll(Place::Dead, max, lease_ttl, SECOND).await
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        let held = self.held(handle)?;
        // Rounded down at the end, because SQS refuses what goes beyond it.
        let span = whole_seconds(lease_ttl).min(Duration::from_secs(held.extendable.as_secs()));
        self.hide(handle, &held, span).await?;
        self.leases.extend(&held, span, Instant::now());
        Ok(())
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        let held = self.held(handle)?;
        let span = whole_seconds(delay).min(Duration::from_secs(held.extendable.as_secs()));
        self.hide(handle, &held, span).await?;
        self.leases.end(&held);
        Ok(())
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        let held = self.held(handle)?;
        let deleting = self
            .client
            .delete_message()
            .queue_url(self.url(held.place))
            .receipt_handle(held.receipt);
        let deleted = deleting.send().await;
        deleted.map_err(|error| lost_or_unavailable(&error, handle))?;
        self.leases.end(&held);
        Ok(())
    }

    /// As SQS last counted, which may be a minute ago. It does not tell the age of the oldest task
    /// here; CloudWatch does, as `ApproximateAgeOfOldestMessage`.
    async fn depth(&self) -> Result<Depth, QueueError> {
        let (tasks, dead) = tokio::try_join!(self.count(Place::Tasks), self.count(Place::Dead))?;
        Ok(Depth {
            visible: tasks.0,
            leased: tasks.1,
            dead: dead.0 + dead.1,
            oldest_age: None,
        })
    }

    fn losses(&self) -> u64 {
        self.again.losses()
    }
}

/// The client has much to say of itself, and nothing that helps.
impl fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsQueue")
            .field("tasks", &self.tasks)
            .field("dead", &self.dead)
            .field("leases", &self.leases)
            .finish_non_exhaustive()
    }
}

/// A span that SQS can tell, no shorter than the one given, up to the longest.
fn whole_seconds(span: Duration) -> Duration {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    Duration::from_secs(seconds).min(LEASE_MAX)
}

/// For numbers within the bounds above, which all fit.
fn int(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn unavailable(error: &(dyn Error + 'static)) -> QueueError {
    QueueError::Unavailable {
        message: Causes(error).to_string(),
    }
}

fn lost(handle: &LeaseHandle) -> QueueError {
    QueueError::LeaseLost {
        handle: handle.clone(),
    }
}

/// SQS names an unknown or ended lease in several ways, one of them in words alone.
fn lost_or_unavailable<E: Error + ProvideErrorMetadata + 'static, R: fmt::Debug + 'static>(
    error: &SdkError<E, R>,
    handle: &LeaseHandle,
) -> QueueError {
    let is_lost = match error.code() {
        Some("MessageNotInflight" | "ReceiptHandleIsInvalid" | "InvalidIdFormat") => true,
        // With the queue, its leases are gone.
        _ if again::is_gone(error) => true,
        Some("InvalidParameterValue" | "InvalidParameterValueException") => error
            .message()
            .is_some_and(|message| message.contains("ReceiptHandle")),
        _ => false,
    };
    if is_lost {
        lost(handle)
    } else {
        unavailable(error)
    }
}
