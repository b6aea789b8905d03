//! Tasks that some receivers alone may take, beside a queue for all.
//!
//! No broker lets a receiver choose among tasks, so those that are pinned wait in this process,
//! whatever keeps the others. Like those of every queue in memory they die with it, and whoever sent
//! them sends them again.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Delivery, Depth, LeaseHandle, MemoryQueue, QueueError, TaskMessage, TaskQueue};

/// The attribute that names what a task is pinned to; a task without it is for everyone.
pub const PINNED_TO: &str = "pinned-to";

/// In front of the handles of pinned tasks. No other queue writes such handles.
const PREFIX: &str = "pinned-to/";

/// A queue for all, and one for each pin.
#[derive(Debug)]
pub struct PinnedQueue {
    open: Arc<dyn TaskQueue>,
    pinned: BTreeMap<String, MemoryQueue>,
}

type Receiving<'a> = Pin<Box<dyn Future<Output = Result<Vec<Delivery>, QueueError>> + Send + 'a>>;

impl PinnedQueue {
    /// Keeps tasks that are pinned in the queue that `pinned` has for their pin, and all others,
    /// also those with a pin that it does not have, in `open`.
    #[must_use]
    pub fn beside(open: Arc<dyn TaskQueue>, pinned: BTreeMap<String, MemoryQueue>) -> Self {
        Self { open, pinned }
    }

    fn pin_of<'a>(&self, message: &'a TaskMessage) -> Option<&'a str> {
        let pin = message.attributes.get(PINNED_TO)?;
        self.pinned.contains_key(pin).then_some(pin)
    }

    /// The queue that wrote a handle, and the handle as it wrote it.
    fn place(&self, handle: &LeaseHandle) -> (&dyn TaskQueue, LeaseHandle) {
        let place = || {
            let (pin, own) = handle.0.strip_prefix(PREFIX)?.split_once('/')?;
            Some((self.pinned.get(pin)?, own))
        };
        match place() {
            Some((queue, own)) => (queue, LeaseHandle(own.to_owned())),
            None => (self.open.as_ref(), handle.clone()),
        }
    }
}

#[async_trait]
impl TaskQueue for PinnedQueue {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        let mut open = Vec::with_capacity(messages.len());
        let mut pinned: BTreeMap<String, Vec<TaskMessage>> = BTreeMap::new();
        for message in messages {
            match self.pin_of(&message).map(str::to_owned) {
                Some(pin) => pinned.entry(pin).or_default().push(message),
                None => open.push(message),
            }
        }
        for (pin, messages) in pinned {
            if let Some(queue) = self.pinned.get(&pin) {
                queue.send(messages).await?;
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        self.open.send(open).await
    }

    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        // Those that fewer can take come first.
        let own = self.pinned.iter().filter(|(pin, _)| pins.contains(pin));
        let pinned = own.map(|(pin, queue)| -> Receiving<'_> {
            Box::pin(async move {
                let deliveries = queue.receive(&[], max, lease_ttl, wait).await?;
                let named = deliveries.into_iter().map(|delivery| Delivery {
                    handle: LeaseHandle(format!("{PREFIX}{pin}/{}", delivery.handle)),
                    ..delivery
                });
                Ok(named.collect())
            })
        });
        let mut receiving: Vec<_> = pinned.collect();
        receiving.push(Box::pin(self.open.receive(pins, max, lease_ttl, wait)));
        first(receiving).await
    }

    async fn receive_dead(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let mut dead = self.open.receive_dead(max, lease_ttl).await?;
        for (pin, queue) in &self.pinned {
            let Some(rest) = NonZeroUsize::new(max.get().saturating_sub(dead.len())) else {
                break;
            };
            for delivery in queue.receive_dead(rest, lease_ttl).await? {
                dead.push(Delivery {
                    handle: LeaseHandle(format!("{PREFIX}{pin}/{}", delivery.handle)),
                    ..delivery
                });
            }
        }
        Ok(dead)
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        let (queue, own) = self.place(handle);
        named(queue.extend(&own, lease_ttl).await, handle)
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        let (queue, own) = self.place(handle);
        named(queue.give_back(&own, delay).await, handle)
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        let (queue, own) = self.place(handle);
        named(queue.acknowledge(&own).await, handle)
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let mut all = self.open.depth().await?;
        for queue in self.pinned.values() {
            let depth = queue.depth().await?;
            all.visible += depth.visible;
            all.leased += depth.leased;
            all.dead += depth.dead;
            all.oldest_age = all.oldest_age.max(depth.oldest_age);
        }
        Ok(all)
    }

    fn losses(&self) -> u64 {
        self.open.losses()
    }
}

/// The answer about a lease, which is lost under the handle that the caller has.
fn named(asked: Result<(), QueueError>, handle: &LeaseHandle) -> Result<(), QueueError> {
    asked.map_err(|error| match error {
        QueueError::LeaseLost { .. } => QueueError::LeaseLost {
            handle: handle.clone(),
        },
        error => error,
    })
}

/// What the first of several receivers gets that gets something; nothing, when each has waited in
/// vain. The others are dropped, which loses no task.
async fn first(mut receiving: Vec<Receiving<'_>>) -> Result<Vec<Delivery>, QueueError> {
    poll_fn(|context| {
        let mut at = 0;
        while let Some(receiver) = receiving.get_mut(at) {
            match receiver.as_mut().poll(context) {
                Poll::Ready(Ok(none)) if none.is_empty() => drop(receiving.remove(at)),
                Poll::Ready(received) => return Poll::Ready(received),
                Poll::Pending => at += 1,
            }
        }
        match receiving.is_empty() {
            true => Poll::Ready(Ok(Vec::new())),
            false => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use clock::{Clock, ManualClock, Timestamp};

    use super::*;
    use crate::contract::{self, Harness};

    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    const MINUTE: Duration = Duration::from_secs(60);

    fn manual() -> (Arc<ManualClock>, PinnedQueue) {
        let manual = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&manual);
        let memory = || {
            let queue = MemoryQueue::new(Arc::clone(&clock));
            queue.with_max_deliveries(contract::MAX_DELIVERIES)
        };
        let pinned = ["a", "b"].map(|pin| (pin.to_owned(), memory()));
        let queue = PinnedQueue::beside(Arc::new(memory()), pinned.into());
        (manual, queue)
    }

    fn harness() -> Harness {
        let (clock, queue) = manual();
        Harness {
            queue: Arc::new(queue),
            pass_time: Box::new(move |span| {
                clock.advance(span);
                Box::pin(tokio::task::yield_now())
            }),
        }
    }

    contract::check!(async { harness() });
    contract::check_dead!(async { harness() });

    fn task(body: &'static str, pin: &str) -> TaskMessage {
        TaskMessage {
            body: body.into(),
            attributes: [(PINNED_TO.to_owned(), pin.to_owned())].into(),
        }
    }

    async fn receive(queue: &PinnedQueue, pins: &[&str], wait: Duration) -> Option<Delivery> {
        let pins: Vec<_> = pins.iter().map(|pin| (*pin).to_owned()).collect();
        let received = queue.receive(&pins, ONE, MINUTE, wait).await.unwrap();
        received.into_iter().next()
    }

    #[tokio::test]
    async fn a_pinned_task_goes_to_those_with_its_pin_alone() {
        let (_, queue) = manual();
        queue.send(vec![task("1", "a")]).await.unwrap();
        assert_eq!(
            queue.receive(&[], ONE, MINUTE, Duration::ZERO).await,
            Ok(vec![])
        );
        assert_eq!(receive(&queue, &["b"], Duration::ZERO).await, None);
        let received = receive(&queue, &["b", "a"], Duration::ZERO).await.unwrap();
        assert_eq!(received.body, "1");
        queue.extend(&received.handle, MINUTE).await.unwrap();
        queue
            .give_back(&received.handle, Duration::ZERO)
            .await
            .unwrap();
        let again = receive(&queue, &["a"], Duration::ZERO).await.unwrap();
        assert_eq!(again.epoch, 2);
        queue.acknowledge(&again.handle).await.unwrap();
        assert_eq!(queue.depth().await.unwrap(), Depth::default());
    }

    #[tokio::test]
    async fn a_pin_that_nobody_keeps_is_for_everyone() {
        let (_, queue) = manual();
        queue.send(vec![task("1", "c")]).await.unwrap();
        let received = queue
            .receive(&[], ONE, MINUTE, Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(received[0].body, "1");
    }

    #[tokio::test]
    async fn who_waits_for_any_task_is_woken_by_a_pinned_one() {
        let (clock, queue) = manual();
        let (received, ()) = tokio::join!(receive(&queue, &["a"], MINUTE), async {
            clock.until_asleep(2).await;
            queue.send(vec![task("1", "a")]).await.unwrap();
        });
        let received = received.unwrap();
        assert_eq!(received.body, "1");
        queue.acknowledge(&received.handle).await.unwrap();
        let (received, ()) = tokio::join!(receive(&queue, &["a"], MINUTE), async {
            clock.until_asleep(2).await;
            clock.advance(MINUTE);
        });
        assert_eq!(received, None, "and no longer than asked");
    }

    #[tokio::test]
    async fn a_pinned_task_that_nobody_finishes_is_handed_out_as_dead() {
        let (clock, queue) = manual();
        queue.send(vec![task("1", "a")]).await.unwrap();
        for _delivery in 0..contract::MAX_DELIVERIES.get() {
            assert!(receive(&queue, &["a"], Duration::ZERO).await.is_some());
            clock.advance(MINUTE);
        }
        let dead = queue.receive_dead(ONE, MINUTE).await.unwrap();
        assert_eq!(dead[0].body, "1");
        queue.acknowledge(&dead[0].handle).await.unwrap();
        assert_eq!(queue.depth().await.unwrap().dead, 0);
    }
}
