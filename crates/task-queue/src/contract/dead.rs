//! What every queue promises of tasks that nobody acknowledges.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Harness, LEASE, LONG, ONE, task};
use crate::{Delivery, LeaseHandle};

/// How often the queue of a harness delivers a task before it is dead: often enough that the other
/// checks see no dead task.
pub const MAX_DELIVERIES: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

impl Harness {
    /// Sends one task and takes it until it is dead: once it is abandoned, then given back.
    async fn send_and_kill(&self, body: &'static str) {
        self.send(&[body]).await;
        self.receive(LEASE).await;
        for _rest in 1..MAX_DELIVERIES.get() {
            let delivery = self.receive(LONG).await;
            self.give_back(&delivery.handle, Duration::ZERO).await;
        }
    }

    async fn receive_dead(&self, lease_ttl: Duration) -> Vec<Delivery> {
        let dead = self.queue.receive_dead(ONE, lease_ttl).await;
        dead.expect("receive dead")
    }

    /// Receives one dead task, however long the queue takes to find out that it is.
    async fn until_dead(&self, lease_ttl: Duration) -> Delivery {
        loop {
            self.assert_nothing_visible().await;
            if let Some(delivery) = self.receive_dead(lease_ttl).await.pop() {
                return delivery;
            }
            (self.pass_time)(super::STEP).await;
        }
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) {
        let given = self.queue.give_back(handle, delay).await;
        given.expect("give back");
    }

    async fn acknowledge(&self, handle: &LeaseHandle) {
        let acknowledged = self.queue.acknowledge(handle).await;
        acknowledged.expect("acknowledge");
    }
}

/// Abandoned and given back count alike; what was sent arrives here, and no longer there.
pub async fn a_task_delivered_too_often_is_dead(harness: Harness) {
    harness.send_and_kill("a").await;
    let dead = harness.until_dead(LONG).await;
    assert_eq!(dead.body, "a");
    harness.assert_nothing_visible().await;
}

/// The last delivery is as good as the first: acknowledged, it leaves no dead task.
pub async fn the_last_delivery_can_still_be_acknowledged(harness: Harness) {
    harness.send(&["a"]).await;
    for _earlier in 1..MAX_DELIVERIES.get() {
        let delivery = harness.receive(LONG).await;
        harness.give_back(&delivery.handle, Duration::ZERO).await;
    }
    let last = harness.receive(LONG).await;
    assert_eq!(last.epoch, MAX_DELIVERIES.get());
    assert_eq!(harness.receive_dead(LONG).await, []);
    let extended = harness.queue.extend(&last.handle, LEASE).await;
    extended.expect("extend");
    harness.acknowledge(&last.handle).await;
    (harness.pass_time)(LEASE * 2).await;
    harness.assert_nothing_visible().await;
    assert_eq!(harness.receive_dead(LONG).await, []);
}

/// While the lease holds, no one else gets it; once acknowledged, no one ever.
pub async fn a_dead_task_is_handed_out_under_a_lease(harness: Harness) {
    harness.send_and_kill("a").await;
    let dead = harness.until_dead(LONG).await;
    assert_eq!(harness.receive_dead(LONG).await, []);
    let extended = harness.queue.extend(&dead.handle, LEASE).await;
    extended.expect("extend");
    harness.acknowledge(&dead.handle).await;
    (harness.pass_time)(LEASE * 2).await;
    assert_eq!(harness.receive_dead(LONG).await, []);
    harness.assert_nothing_visible().await;
}

/// Whoever looks after the dead may die too: it stays dead, and the next one gets it.
pub async fn a_dead_task_returns_among_the_dead(harness: Harness) {
    harness.send_and_kill("a").await;
    let given_back = harness.until_dead(LONG).await.handle;
    harness.give_back(&given_back, Duration::ZERO).await;
    let abandoned = harness.until_dead(LEASE).await;
    assert_ne!(abandoned.handle, given_back);
    (harness.pass_time)(LEASE).await;
    let returned = harness.until_dead(LONG).await;
    assert_eq!(returned.body, "a");
    assert_ne!(returned.handle, abandoned.handle);
    let lost = harness.queue.acknowledge(&abandoned.handle).await;
    assert!(lost.is_err(), "an abandoned lease on a dead task lives");
    harness.acknowledge(&returned.handle).await;
}

/// The dead are counted apart, and those who wait behind them are served.
pub async fn the_depth_tells_the_dead(harness: Harness) {
    harness.send_and_kill("a").await;
    let dead = harness.until_dead(LONG).await;
    harness.send(&["b", "c"]).await;
    harness.receive(LONG).await;
    let depth = harness.queue.depth().await.expect("depth");
    assert_eq!((depth.visible, depth.leased, depth.dead), (1, 1, 1));
    harness.acknowledge(&dead.handle).await;
    let depth = harness.queue.depth().await.expect("depth");
    assert_eq!((depth.visible, depth.leased, depth.dead), (1, 1, 0));
}

/// What a task was sent with goes with it, and so does the time at which it was sent.
pub async fn a_dead_task_keeps_what_it_was_sent_with(harness: Harness) {
    let mut message = task("a");
    let attributes = [("run".to_owned(), "7".to_owned())];
    message.attributes.extend(attributes);
    let sent = harness.queue.send(vec![message.clone()]).await;
    sent.expect("send");
    let mut sent_at = None;
    for _each in 0..MAX_DELIVERIES.get() {
        let delivery = harness.receive(LONG).await;
        sent_at = Some(delivery.sent_at);
        harness.give_back(&delivery.handle, Duration::ZERO).await;
    }
    let dead = harness.until_dead(LONG).await;
    assert_eq!(dead.body, message.body);
    assert_eq!(dead.attributes, message.attributes);
    assert_eq!(Some(dead.sent_at), sent_at);
}
