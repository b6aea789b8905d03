//! A queue that counts what it is asked, whatever backend is behind it.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use clock::Clock;
use seams::{Seam, Seams};

use crate::metrics::{
    ACKNOWLEDGED, DEAD, EXTENDED, GIVEN_BACK, GRANTED, GRANTED_AGAIN, LEASED, LOST, Metrics,
    VISIBLE,
};
use crate::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};

/// A queue and what is counted of it. Clones are the same queue.
#[derive(Debug, Clone)]
pub struct Counted {
    queue: Arc<dyn TaskQueue>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    seams: Seams,
}

impl Counted {
    /// Counts what `queue` is asked; waits are measured on the clock that it writes into deliveries.
    #[must_use]
    pub fn new(queue: Arc<dyn TaskQueue>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self {
            queue,
            clock,
            metrics: Arc::new(metrics),
            seams: Seams::default(),
        }
    }

    /// Passes what the queue is asked through `seams`.
    #[must_use]
    pub fn through(self, seams: Seams) -> Self {
        Self { seams, ..self }
    }

    /// Brings depth and age up to date, if the backend can tell them at once. One that must ask
    /// elsewhere leaves them as they were: there, whoever awaits [`depth`](TaskQueue::depth) brings
    /// them up to date.
    pub fn look(&self) {
        let mut looking = pin!(self.queue.depth());
        let now = looking
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Ok(depth)) = now {
            self.show(&depth);
        }
    }

    /// Passes what the queue is asked through the seams, and counts it when it is asked in vain.
    async fn ask<T>(
        &self,
        operation: &'static str,
        arguments: &(impl Debug + Sync),
        asking: impl Future<Output = Result<T, QueueError>> + Send,
    ) -> Result<T, QueueError> {
        let asking = self.seams.make(Seam::Queue, operation, arguments, asking);
        let asked = asking.await;
        self.count_error(operation, &asked);
        asked
    }

    fn count_error<T>(&self, operation: &'static str, asked: &Result<T, QueueError>) {
        match asked {
            Ok(_) | Err(QueueError::LeaseLost { .. }) => {}
            Err(_) => self.metrics.errors.of(operation).inc(),
        }
    }

    fn show(&self, depth: &Depth) {
        let whole = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.depth.of(VISIBLE).set(whole(depth.visible));
        metrics.depth.of(LEASED).set(whole(depth.leased));
        metrics.depth.of(DEAD).set(whole(depth.dead));
        let oldest = depth.oldest_age.unwrap_or_default();
        metrics.oldest_seconds.set(oldest.as_secs_f64());
    }

    fn count(&self, asked: &Result<(), QueueError>, outcome: &'static str) {
        match asked {
            Ok(()) => self.metrics.leases.of(outcome).inc(),
            Err(QueueError::LeaseLost { .. }) => self.metrics.leases.of(LOST).inc(),
            Err(_) => {}
        }
    }

    fn count_delivery(&self, delivery: &Delivery) {
        if delivery.epoch > 1 {
            self.metrics.leases.of(GRANTED_AGAIN).inc();
            return;
        }
        self.metrics.leases.of(GRANTED).inc();
        let waited = self.clock.now().since(delivery.sent_at);
        self.metrics.wait_seconds.observe_duration(waited);
    }
}

#[async_trait]
impl TaskQueue for Counted {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        let heard = self.seams.are_heard();
        let bodies: Vec<_> = messages
            .iter()
            .filter(|_message| heard)
            .map(|message| message.body.clone())
            .collect();
        let sending = self.queue.send(messages);
        self.ask("send", &bodies, sending).await
    }

    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let receiving = self.queue.receive(pins, max, lease_ttl, wait);
        let asked = (max, lease_ttl, wait);
        let deliveries = self.ask("receive", &asked, receiving).await?;
        for delivery in &deliveries {
            self.count_delivery(delivery);
        }
        Ok(deliveries)
    }

    async fn receive_dead(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let receiving = self.queue.receive_dead(max, lease_ttl);
        let asked = (max, lease_ttl);
        self.ask("receive_dead", &asked, receiving).await
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        let extending = self.queue.extend(handle, lease_ttl);
        let asked = (handle, lease_ttl);
        let extended = self.ask("extend", &asked, extending).await;
        self.count(&extended, EXTENDED);
        extended
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        let giving = self.queue.give_back(handle, delay);
        let asked = (handle, delay);
        let given = self.ask("give_back", &asked, giving).await;
        self.count(&given, GIVEN_BACK);
        given
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        let ending = self.queue.acknowledge(handle);
        let acknowledged = self.ask("acknowledge", handle, ending).await;
        self.count(&acknowledged, ACKNOWLEDGED);
        acknowledged
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let depth = self.queue.depth().await;
        self.count_error("depth", &depth);
        let depth = depth?;
        self.show(&depth);
        Ok(depth)
    }

    fn losses(&self) -> u64 {
        self.queue.losses()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clock::{ManualClock, Timestamp};
    use telemetry::metrics::{Registry, exposition};

    use super::*;
    use crate::MemoryQueue;
    use crate::contract::{self, Harness};

    const MINUTE: Duration = Duration::from_secs(60);

    fn counted() -> (Counted, Arc<ManualClock>, Registry) {
        let manual = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&manual);
        let registry = Registry::new("test").unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let queue = MemoryQueue::new(Arc::clone(&clock));
        let queue = Arc::new(queue.with_max_deliveries(contract::MAX_DELIVERIES));
        (Counted::new(queue, clock, metrics), manual, registry)
    }

    fn harness() -> Harness {
        let (queue, manual, _registry) = counted();
        Harness {
            queue: Arc::new(queue),
            pass_time: Box::new(move |span| {
                manual.advance(span);
                Box::pin(tokio::task::yield_now())
            }),
        }
    }

    contract::check!(async { harness() });
    contract::check_dead!(async { harness() });

    fn tasks(count: usize) -> Vec<TaskMessage> {
        let task = TaskMessage {
            body: Bytes::from_static(b"task"),
            ..TaskMessage::default()
        };
        vec![task; count]
    }

    async fn receive(queue: &Counted) -> Delivery {
        let received = queue.receive(&[], NonZeroUsize::MIN, MINUTE, Duration::ZERO);
        received.await.unwrap().remove(0)
    }

    fn shows(registry: &Registry, line: &str) {
        let text = exposition::text(&registry.snapshot()).unwrap();
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }

    #[tokio::test]
    async fn depth_and_age_are_as_the_queue_has_them() {
        let (queue, clock, registry) = counted();
        queue.send(tasks(3)).await.unwrap();
        clock.advance(MINUTE);
        receive(&queue).await;
        queue.look();
        shows(&registry, "training_queue_depth{state=\"visible\"} 2");
        shows(&registry, "training_queue_depth{state=\"leased\"} 1");
        shows(&registry, "training_queue_oldest_seconds 60");
    }

    #[tokio::test]
    async fn whoever_asks_for_the_depth_brings_it_up_to_date() {
        let (queue, clock, registry) = counted();
        queue.send(tasks(1)).await.unwrap();
        for _each in 0..contract::MAX_DELIVERIES.get() {
            receive(&queue).await;
            clock.advance(MINUTE);
        }
        queue.depth().await.unwrap();
        shows(&registry, "training_queue_depth{state=\"visible\"} 0");
        shows(&registry, "training_queue_depth{state=\"dead\"} 1");
        shows(&registry, "training_queue_oldest_seconds 0");
    }

    #[tokio::test]
    async fn a_wait_is_counted_once_and_each_lease_by_what_became_of_it() {
        let (queue, clock, registry) = counted();
        queue.send(tasks(1)).await.unwrap();
        clock.advance(Duration::from_secs(2));
        let first = receive(&queue).await;
        queue.extend(&first.handle, MINUTE).await.unwrap();
        clock.advance(2 * MINUTE);
        assert!(queue.acknowledge(&first.handle).await.is_err());
        let second = receive(&queue).await;
        queue
            .give_back(&second.handle, Duration::ZERO)
            .await
            .unwrap();
        let third = receive(&queue).await;
        queue.acknowledge(&third.handle).await.unwrap();
        shows(&registry, "training_queue_wait_seconds_count 1");
        shows(&registry, "training_queue_wait_seconds_sum 2");
        for (outcome, count) in [
            ("granted", 1),
            ("granted_again", 2),
            ("extended", 1),
            ("given_back", 1),
            ("acknowledged", 1),
            ("lost", 1),
        ] {
            let line = format!("training_leases_total{{outcome=\"{outcome}\"}} {count}");
            shows(&registry, &line);
        }
    }

    #[tokio::test]
    async fn what_is_asked_in_vain_is_counted_and_a_lost_lease_is_not() {
        let (queue, clock, registry) = counted();
        queue.send(tasks(1)).await.unwrap();
        let delivery = receive(&queue).await;
        queue.acknowledge(&delivery.handle).await.unwrap();
        queue.acknowledge(&delivery.handle).await.unwrap_err();
        shows(
            &registry,
            "training_queue_errors_total{operation=\"acknowledge\"} 0",
        );

        let small = MemoryQueue::with_capacity(clock, 1);
        let full = Counted {
            queue: Arc::new(small),
            ..queue
        };
        full.send(tasks(2)).await.unwrap_err();
        shows(
            &registry,
            "training_queue_errors_total{operation=\"send\"} 1",
        );
    }
}
