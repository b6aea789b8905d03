//! The queue of one process.

mod state;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clock::Clock;
use tokio::sync::Notify;

use crate::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};
use state::{Now, State};

/// Tasks held unless told otherwise: at most 64 Ki of them, so that even bodies at their limit
/// stay within 16 GiB and the usual ones, of a few hundred bytes, within some tens of megabytes.
const CAPACITY: usize = 64 * 1024;

/// A queue in memory: first come, first served; what returns stands behind what waits.
///
/// Its tasks die with the process.
#[derive(Debug)]
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Rings when a task becomes visible or the moment when the next one does changes.
    changed: Notify,
}

impl MemoryQueue {
    /// An empty queue whose leases run on `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_capacity(clock, CAPACITY)
    }

    /// An empty queue that holds at most `capacity` tasks, visible, leased and dead together.
    #[must_use]
    pub fn with_capacity(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let state = State::new(capacity, clock.now());
        Self {
            clock,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// The same queue, in which a task is dead after this many deliveries instead of
    /// [`MAX_DELIVERIES`](crate::MAX_DELIVERIES).
    #[must_use]
    pub fn with_max_deliveries(self, max: NonZeroU32) -> Self {
        self.state().max_deliveries = max;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now {
            elapsed: self.clock.elapsed(),
            moment: self.clock.now(),
        }
    }
}

#[async_trait]
impl TaskQueue for MemoryQueue {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        for message in &messages {
            message.check_size()?;
        }
        let now = self.now();
        self.state().send(messages, now)?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn receive(
        &self,
        _: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let deadline = self.clock.elapsed().saturating_add(wait);
        loop {
            // Taken before looking, so that a change between the look and the wait still rings.
            let changed = self.changed.notified();
            let now = self.now();
            let (deliveries, next_return) = self.state().take(max, lease_ttl, now);
            // Nothing is awaited between taking and returning: a dropped future holds no task.
            if !deliveries.is_empty() || now.elapsed >= deadline {
                return Ok(deliveries);
            }
            let wake = next_return.map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                biased;
                () = changed => {}
                () = self.clock.sleep(wake.saturating_sub(now.elapsed)) => {}
            }
        }
    }

    async fn receive_dead(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let now = self.now();
        Ok(self.state().take_dead(max, lease_ttl, now))
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        let now = self.now();
        self.state().hide(handle, lease_ttl, now)?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        let now = self.now();
        self.state().give_back(handle, delay, now)?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        let now = self.now();
        self.state().remove(handle, now)
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let now = self.now();
        Ok(self.state().depth(now))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clock::{ManualClock, Timestamp};

    use super::*;
    use crate::MAX_DELIVERIES;
    use crate::contract::{self, Harness};

    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    const MINUTE: Duration = Duration::from_secs(60);

    fn manual() -> (Arc<ManualClock>, Arc<dyn Clock>) {
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        (clock, shared)
    }

    fn harness() -> Harness {
        let (clock, shared) = manual();
        Harness {
            queue: Arc::new(MemoryQueue::new(shared).with_max_deliveries(contract::MAX_DELIVERIES)),
            pass_time: Box::new(move |span| {
                clock.advance(span);
                Box::pin(tokio::task::yield_now())
            }),
        }
    }

    contract::check!(async { harness() });
    contract::check_dead!(async { harness() });

    fn task(body: &'static str) -> TaskMessage {
        TaskMessage {
            body: Bytes::from_static(body.as_bytes()),
            ..TaskMessage::default()
        }
    }

    async fn receive_now(queue: &MemoryQueue) -> Delivery {
        let mut deliveries = queue
            .receive(&[], ONE, MINUTE, Duration::ZERO)
            .await
            .unwrap();
        deliveries.remove(0)
    }

    #[tokio::test]
    async fn what_returns_stands_behind_what_waits() {
        let (_, clock) = manual();
        let queue = MemoryQueue::new(clock);
        queue
            .send(vec![task("a"), task("b"), task("c")])
            .await
            .unwrap();
        let first = receive_now(&queue).await;
        queue
            .give_back(&first.handle, Duration::ZERO)
            .await
            .unwrap();
        let mut order = Vec::new();
        for _task in 0..3 {
            order.push(receive_now(&queue).await.body);
        }
        assert_eq!(order, ["b", "c", "a"]);
    }

    #[tokio::test]
    async fn a_full_queue_takes_a_batch_whole_or_not_at_all() {
        let (_, clock) = manual();
        let queue = MemoryQueue::with_capacity(clock, 2);
        queue.send(vec![task("a")]).await.unwrap();
        let full = queue.send(vec![task("b"), task("c")]).await;
        assert_eq!(full, Err(QueueError::Full { capacity: 2 }));
        assert_eq!(queue.depth().await.unwrap().visible, 1);
    }

    #[tokio::test]
    async fn age_counts_from_sending_through_every_lease() {
        let (manual, clock) = manual();
        let queue = MemoryQueue::new(clock);
        queue.send(vec![task("a")]).await.unwrap();
        manual.advance(MINUTE);
        queue.send(vec![task("b")]).await.unwrap();
        let first = receive_now(&queue).await;
        assert_eq!(first.sent_at, Timestamp(1_000_000));
        assert_eq!(queue.depth().await.unwrap().oldest_age, Some(MINUTE));
        queue.acknowledge(&first.handle).await.unwrap();
        assert_eq!(
            queue.depth().await.unwrap().oldest_age,
            Some(Duration::ZERO)
        );
    }

    #[tokio::test]
    async fn a_task_dies_after_the_usual_number_of_deliveries() {
        let (manual, clock) = manual();
        let queue = MemoryQueue::new(clock);
        queue.send(vec![task("a"), task("b")]).await.unwrap();
        let last = receive_now(&queue).await;
        queue.acknowledge(&last.handle).await.unwrap();
        for delivery in 1..=MAX_DELIVERIES.get() {
            assert_eq!(receive_now(&queue).await.epoch, delivery);
            assert_eq!(queue.depth().await.unwrap().dead, 0);
            manual.advance(MINUTE);
        }
        let depth = queue.depth().await.unwrap();
        assert_eq!((depth.dead, depth.oldest_age), (1, None));
    }

    #[tokio::test]
    async fn a_receiver_waits_no_longer_than_asked() {
        let (manual, clock) = manual();
        let queue = MemoryQueue::new(clock);
        let (received, ()) = tokio::join!(queue.receive(&[], ONE, MINUTE, MINUTE), async {
            manual.until_asleep(1).await;
            manual.advance(MINUTE);
        });
        assert_eq!(received, Ok(vec![]));
    }

    #[tokio::test]
    async fn a_receipt_from_before_a_restart_names_nothing() {
        let (manual, clock) = manual();
        let before = MemoryQueue::new(Arc::clone(&clock));
        before.send(vec![task("a")]).await.unwrap();
        let handle = receive_now(&before).await.handle;
        manual.advance(MINUTE);
        let after = MemoryQueue::new(clock);
        after.send(vec![task("b")]).await.unwrap();
        receive_now(&after).await;
        let lost = after.acknowledge(&handle).await;
        assert_eq!(lost, Err(QueueError::LeaseLost { handle }));
    }

    #[tokio::test]
    async fn a_given_back_receipt_is_spent() {
        let (_, clock) = manual();
        let queue = MemoryQueue::new(clock);
        queue.send(vec![task("a")]).await.unwrap();
        let handle = receive_now(&queue).await.handle;
        queue.give_back(&handle, MINUTE).await.unwrap();
        let lost = Err(QueueError::LeaseLost {
            handle: handle.clone(),
        });
        assert_eq!(queue.extend(&handle, MINUTE).await, lost);
        assert_eq!(queue.acknowledge(&handle).await, lost);
    }
}
