//! What every queue promises, as tests.
//!
//! A backend's tests say `task_queue::contract::check!(async { harness });` where the expression
//! makes a fresh, empty queue each time; it may be `None` where the broker is not there, and the
//! check is left out. One that hands out dead tasks says `check_dead!` likewise, with a queue that
//! delivers a task [`MAX_DELIVERIES`] times. Where time cannot be made to pass, `check_together!`
//! says both, and waits once for all. The suite knows only [`TaskQueue`] and the [`Harness`]. It runs
//! against real brokers too, so leases are whole seconds and every test ends within a minute.

#![expect(
    clippy::missing_panics_doc,
    reason = "a check says no by panicking, and nothing else"
)]

mod dead;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{BODY_LIMIT, Delivery, QueueError, TaskMessage, TaskQueue};

/// Runs every check of dead tasks as a test of its own.
pub use crate::__check_dead_tasks as check_dead;
/// Runs every check as a test of its own.
pub use crate::__check_task_queue as check;
/// Runs all checks, of dead tasks too, at the same time in two tests.
pub use crate::__check_together as check_together;
pub use dead::{
    MAX_DELIVERIES, a_dead_task_is_handed_out_under_a_lease,
    a_dead_task_keeps_what_it_was_sent_with, a_dead_task_returns_among_the_dead,
    a_task_delivered_too_often_is_dead, the_depth_tells_the_dead,
    the_last_delivery_can_still_be_acknowledged,
};
#[doc(hidden)]
pub use running::{Together, within_a_minute};

/// The lease that is left to run out: the shortest that SQS knows, doubled against rounding.
const LEASE: Duration = Duration::from_secs(2);
/// A lease that outlives its test.
const LONG: Duration = Duration::from_secs(120);
/// How long a receiver waits for what is bound to come.
const PATIENCE: Duration = Duration::from_secs(15);
/// The step in which time passes while a receiver waits.
const STEP: Duration = Duration::from_millis(200);
const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// A fresh queue and the hands of its clock.
pub struct Harness {
    /// The queue, empty.
    pub queue: Arc<dyn TaskQueue>,
    /// Lets at least this much time pass on the queue's clock, and lets the queue act on it before
    /// it returns.
    pub pass_time: PassTime,
}

/// See [`Harness::pass_time`].
pub type PassTime = Box<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Harness {
    async fn send(&self, bodies: &[&'static str]) {
        let messages = bodies.iter().map(|body| task(body)).collect();
        self.queue.send(messages).await.expect("send");
    }

    /// Receives one task, however long it takes to come back.
    async fn receive(&self, lease_ttl: Duration) -> Delivery {
        loop {
            let receive = self.queue.receive(&[], ONE, lease_ttl, PATIENCE);
            tokio::pin!(receive);
            let deliveries = loop {
                tokio::select! {
                    biased;
                    deliveries = &mut receive => break deliveries.expect("receive"),
                    () = (self.pass_time)(STEP) => tokio::task::yield_now().await,
                }
            };
            assert!(deliveries.len() <= 1, "asked for one, got {deliveries:?}");
            if let Some(delivery) = deliveries.into_iter().next() {
                return delivery;
            }
        }
    }

    async fn assert_nothing_visible(&self) {
        let deliveries = self.queue.receive(&[], ONE, LONG, Duration::ZERO).await;
        assert_eq!(deliveries, Ok(vec![]));
    }
}

fn task(body: &'static str) -> TaskMessage {
    TaskMessage {
        body: Bytes::from_static(body.as_bytes()),
        ..TaskMessage::default()
    }
}

/// While the lease holds, no one else gets the task.
pub async fn a_sent_task_is_delivered_once_while_leased(harness: Harness) {
    harness.send(&["a"]).await;
    let delivery = harness.receive(LONG).await;
    assert_eq!(delivery.body, "a");
    assert_eq!(delivery.epoch, 1);
    harness.assert_nothing_visible().await;
}

/// Not even the end of the lease brings it back.
pub async fn an_acknowledged_task_stays_gone(harness: Harness) {
    harness.send(&["a"]).await;
    let delivery = harness.receive(LEASE).await;
    harness
        .queue
        .acknowledge(&delivery.handle)
        .await
        .expect("acknowledge");
    (harness.pass_time)(LEASE * 2).await;
    harness.assert_nothing_visible().await;
}

/// A worker that dies says nothing; its lease runs out, and a waiting receiver gets the task.
pub async fn an_abandoned_task_returns(harness: Harness) {
    harness.send(&["a"]).await;
    let abandoned = harness.receive(LEASE).await;
    let returned = harness.receive(LONG).await;
    assert_eq!(returned.body, "a");
    assert_eq!(returned.epoch, 2);
    assert_eq!(returned.sent_at, abandoned.sent_at);
    assert_ne!(returned.handle, abandoned.handle);
}

/// Extended in time, a lease outlives its first end.
pub async fn an_extended_lease_holds(harness: Harness) {
    harness.send(&["a"]).await;
    let delivery = harness.receive(LEASE).await;
    harness
        .queue
        .extend(&delivery.handle, LONG)
        .await
        .expect("extend");
    (harness.pass_time)(LEASE * 2).await;
    harness.assert_nothing_visible().await;
    harness
        .queue
        .acknowledge(&delivery.handle)
        .await
        .expect("acknowledge");
}

/// Not before, and not only at the end of the lease.
pub async fn a_task_given_back_returns_after_its_delay(harness: Harness) {
    harness.send(&["a"]).await;
    let delivery = harness.receive(LONG).await;
    harness
        .queue
        .give_back(&delivery.handle, LEASE)
        .await
        .expect("give back");
    harness.assert_nothing_visible().await;
    let returned = harness.receive(LONG).await;
    assert_eq!((returned.body, returned.epoch), (Bytes::from("a"), 2));
}

/// Without a delay it is there for the next receiver, with no time passing.
pub async fn a_task_given_back_wakes_a_waiting_receiver(harness: Harness) {
    harness.send(&["a"]).await;
    let delivery = harness.receive(LONG).await;
    let (received, ()) = tokio::join!(harness.queue.receive(&[], ONE, LONG, PATIENCE), async {
        tokio::task::yield_now().await;
        harness
            .queue
            .give_back(&delivery.handle, Duration::ZERO)
            .await
            .expect("give back");
    });
    assert_eq!(received.expect("receive")[0].epoch, 2);
}

/// Once the task is in other hands, the first handle can do nothing to it.
pub async fn a_stale_handle_is_refused(harness: Harness) {
    harness.send(&["a"]).await;
    let stale = harness.receive(LEASE).await.handle;
    let current = harness.receive(LONG).await;
    assert_eq!(current.epoch, 2);

    let lost = Err(QueueError::LeaseLost {
        handle: stale.clone(),
    });
    assert_eq!(harness.queue.extend(&stale, LONG).await, lost);
    assert_eq!(harness.queue.give_back(&stale, Duration::ZERO).await, lost);
    assert_eq!(harness.queue.acknowledge(&stale).await, lost);

    harness.assert_nothing_visible().await;
    harness
        .queue
        .acknowledge(&current.handle)
        .await
        .expect("the second lease is unharmed");
}

/// Names and values arrive as they were sent.
pub async fn attributes_travel(harness: Harness) {
    let attributes = BTreeMap::from([
        (
            "traceparent".to_owned(),
            "00-0af7651916cd43dd-01".to_owned(),
        ),
        ("run".to_owned(), "größe 7".to_owned()),
    ]);
    let message = TaskMessage {
        body: Bytes::from_static(&[0, 159, 146, 150]),
        attributes,
    };
    harness
        .queue
        .send(vec![message.clone()])
        .await
        .expect("send");
    let delivery = harness.receive(LONG).await;
    assert_eq!(delivery.attributes, message.attributes);
    assert_eq!(delivery.body, message.body);
}

/// Nothing at all is a task too.
pub async fn an_empty_body_travels(harness: Harness) {
    harness.send(&[""]).await;
    assert_eq!(harness.receive(LONG).await.body, "");
}

/// A receiver that waits gets the task when it is sent, with no time passing.
pub async fn a_waiting_receiver_is_woken(harness: Harness) {
    let (received, ()) = tokio::join!(harness.queue.receive(&[], ONE, LONG, PATIENCE), async {
        tokio::task::yield_now().await;
        harness.send(&["a"]).await;
    });
    assert_eq!(received.expect("receive")[0].body, "a");
}

/// The answer of an empty queue is an empty one, not an error.
pub async fn an_empty_queue_answers_after_the_wait(harness: Harness) {
    let receive = harness.queue.receive(&[], ONE, LONG, LEASE);
    tokio::pin!(receive);
    let received = loop {
        tokio::select! {
            biased;
            received = &mut receive => break received,
            () = (harness.pass_time)(STEP) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(received, Ok(vec![]));
}

/// Many hands, no task twice, none forgotten.
pub async fn concurrent_receivers_share_without_overlap(harness: Harness) {
    const TASKS: usize = 24;
    for batch in 0..4_u8 {
        let messages = (0..6_u8).map(|number| TaskMessage {
            body: Bytes::from(vec![batch, number]),
            ..TaskMessage::default()
        });
        harness.queue.send(messages.collect()).await.expect("send");
    }

    let (got, mut all) = tokio::sync::mpsc::channel(TASKS);
    for _receiver in 0..4 {
        let (queue, got) = (Arc::clone(&harness.queue), got.clone());
        tokio::spawn(async move {
            while let Ok(deliveries) = receive_three(&*queue).await {
                for delivery in deliveries {
                    if got.send(delivery.body).await.is_err() {
                        return;
                    }
                }
                if got.is_closed() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let mut seen = BTreeSet::new();
    for _task in 0..TASKS {
        let body = all.recv().await.expect("the receivers go on");
        assert!(seen.insert(body), "a task was delivered twice");
    }
    drop(all);
    harness.assert_nothing_visible().await;
}

async fn receive_three(queue: &dyn TaskQueue) -> Result<Vec<Delivery>, QueueError> {
    let three = NonZeroUsize::MIN.saturating_add(2);
    queue.receive(&[], three, LONG, Duration::ZERO).await
}

/// A receiver that gave up waiting takes no task with it, or only for the length of a lease.
pub async fn an_abandoned_receive_loses_no_task(harness: Harness) {
    {
        let receive = harness.queue.receive(&[], ONE, LEASE, PATIENCE);
        tokio::pin!(receive);
        tokio::select! {
            biased;
            received = &mut receive => panic!("an empty queue answered {received:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    harness.send(&["a"]).await;
    assert_eq!(harness.receive(LONG).await.body, "a");
}

/// Exactly at the limit it travels.
pub async fn a_body_at_the_limit_travels(harness: Harness) {
    let message = TaskMessage {
        body: Bytes::from(vec![b'x'; BODY_LIMIT]),
        ..TaskMessage::default()
    };
    harness.queue.send(vec![message]).await.expect("send");
    assert_eq!(harness.receive(LONG).await.body.len(), BODY_LIMIT);
}

/// One byte more is refused, and attributes count.
pub async fn a_body_over_the_limit_is_refused(harness: Harness) {
    let message = TaskMessage {
        body: Bytes::from(vec![b'x'; BODY_LIMIT - 1]),
        attributes: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
    };
    let refused = harness.queue.send(vec![task("a"), message]).await;
    assert_eq!(
        refused,
        Err(QueueError::BodyTooLarge {
            size: BODY_LIMIT + 1,
            limit: BODY_LIMIT,
        })
    );
    harness.assert_nothing_visible().await;
}

/// What is visible, and what is in someone's hands.
pub async fn the_depth_tells_visible_from_leased(harness: Harness) {
    harness.send(&["a", "b", "c"]).await;
    let delivery = harness.receive(LONG).await;
    let depth = harness.queue.depth().await.expect("depth");
    assert_eq!((depth.visible, depth.leased), (2, 1));
    harness
        .queue
        .acknowledge(&delivery.handle)
        .await
        .expect("acknowledge");
    let depth = harness.queue.depth().await.expect("depth");
    assert_eq!((depth.visible, depth.leased), (2, 0));
}
