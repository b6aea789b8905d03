//! A queue that fails as queues do, as its seed has it.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clock::Clock;
use task_queue::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};

use crate::chance::Chance;

/// How often what happens, of 1,000 times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueFaults {
    /// The queue is not available.
    pub failing: u32,
    /// It takes a while.
    pub slow: u32,
    /// What is sent together arrives in another order.
    pub reordered: u32,
    /// A task arrives later.
    pub delayed: u32,
    /// A task arrives twice.
    pub repeated: u32,
    /// A task does not arrive, which the queue [tells](TaskQueue::losses).
    pub lost: u32,
    /// The longest that anything takes.
    pub longest: Duration,
}

/// A queue with faults over one that has none.
#[derive(Debug)]
pub struct FaultyQueue {
    queue: Arc<dyn TaskQueue>,
    clock: Arc<dyn Clock>,
    faults: QueueFaults,
    chance: Mutex<Chance>,
    late: Mutex<Vec<(Duration, TaskMessage)>>,
    losses: AtomicU64,
}

impl FaultyQueue {
    /// Adds `faults` to `queue`, as `seed` has it.
    #[must_use]
    pub fn new(
        queue: Arc<dyn TaskQueue>,
        clock: Arc<dyn Clock>,
        faults: QueueFaults,
        seed: u64,
    ) -> Self {
        Self {
            queue,
            clock,
            faults,
            chance: Mutex::new(Chance::of(seed, "queue")),
            late: Mutex::default(),
            losses: AtomicU64::new(0),
        }
    }

    fn chance(&self) -> MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, Vec<(Duration, TaskMessage)>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A while of chance.
    fn a_while(&self) -> Duration {
        let longest = u64::try_from(self.faults.longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.chance().below(longest))
    }

    /// What any call may meet.
    async fn meet(&self) -> Result<(), QueueError> {
        let (is_slow, fails) = {
            let mut chance = self.chance();
            (
                chance.happens(self.faults.slow),
                chance.happens(self.faults.failing),
            )
        };
        if is_slow {
            self.clock.sleep(self.a_while()).await;
        }
        if fails {
            let message = "it fails, as its seed has it".to_owned();
            return Err(QueueError::Unavailable { message });
        }
        Ok(())
    }

    /// What arrives now of what is sent.
    fn arriving(&self, mut messages: Vec<TaskMessage>) -> Vec<TaskMessage> {
        if self.chance().happens(self.faults.reordered) {
            let order = self.chance().shuffled(messages.len());
            messages = order
                .into_iter()
                .map(|place| messages[place].clone())
                .collect();
        }
        let mut arriving = Vec::new();
        for message in messages {
            if self.chance().happens(self.faults.lost) {
                self.losses.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if self.chance().happens(self.faults.repeated) {
                arriving.push(message.clone());
            }
            if self.chance().happens(self.faults.delayed) {
                let due = self.clock.elapsed() + self.a_while();
                self.late().push((due, message));
            } else {
                arriving.push(message);
            }
        }
        arriving
    }

    /// Sends what was delayed until now.
    async fn send_late(&self) -> Result<(), QueueError> {
        let now = self.clock.elapsed();
        let due: Vec<_> = self.late().extract_if(.., |(due, _)| *due <= now).collect();
        if due.is_empty() {
            return Ok(());
        }
        let messages = due.into_iter().map(|(_, message)| message).collect();
        self.queue.send(messages).await
    }
}

#[async_trait]
impl TaskQueue for FaultyQueue {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        for message in &messages {
            message.check_size()?;
        }
        self.meet().await?;
        let arriving = self.arriving(messages);
        self.queue.send(arriving).await
    }

    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.meet().await?;
        let deadline = self.clock.elapsed() + wait;
        loop {
            self.send_late().await?;
            let now = self.clock.elapsed();
            let next = self.late().iter().map(|(due, _)| *due).min();
            let until = next.unwrap_or(deadline).min(deadline);
            let wait = until.saturating_sub(now);
            let deliveries = self.queue.receive(pins, max, lease_ttl, wait).await?;
            if !deliveries.is_empty() || self.clock.elapsed() >= deadline {
                return Ok(deliveries);
            }
        }
    }

    async fn receive_dead(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.meet().await?;
        self.queue.receive_dead(max, lease_ttl).await
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        self.meet().await?;
        self.queue.extend(handle, lease_ttl).await
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        self.meet().await?;
        self.queue.give_back(handle, delay).await
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        self.meet().await?;
        self.queue.acknowledge(handle).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.queue.depth().await
    }

    fn losses(&self) -> u64 {
        self.queue.losses() + self.losses.load(Ordering::Relaxed)
    }
}
