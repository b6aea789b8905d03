//! A worker's queue keeps the promises of every queue.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use task_queue::contract::{self, Harness};
use task_queue::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};
use training_worker::remote::RemoteQueue;

use crate::served::{Served, serve};

/// The orchestrator's hand and the worker's: one queues and counts, the other does all else.
struct BothHands {
    served: Served,
    remote: RemoteQueue,
}

impl std::fmt::Debug for BothHands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.remote.fmt(f)
    }
}

#[async_trait]
impl TaskQueue for BothHands {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        self.served.queue.send(messages).await
    }

    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.remote.receive(pins, max, lease_ttl, wait).await
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        self.remote.extend(handle, lease_ttl).await
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        self.remote.give_back(handle, delay).await
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        self.remote.acknowledge(handle).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.served.queue.depth().await
    }
}

// Leases run on real time, as with a broker: between the ends of a connection no clock can be
// stopped.
contract::check!(async {
    let served = serve().await;
    let remote = RemoteQueue::new("w".to_owned(), served.channel.clone());
    Harness {
        queue: Arc::new(BothHands { served, remote }),
        pass_time: Box::new(|span| Box::pin(tokio::time::sleep(span))),
    }
});

#[tokio::test]
async fn a_worker_neither_queues_tasks_nor_counts_them() {
    let served = serve().await;
    let remote = RemoteQueue::new("w".to_owned(), served.channel.clone());
    let refused = remote.send(vec![TaskMessage::default()]).await;
    assert!(matches!(refused, Err(QueueError::Unavailable { .. })));
    let refused = remote.depth().await;
    assert!(matches!(refused, Err(QueueError::Unavailable { .. })));
    assert_eq!(served.queue.depth().await.unwrap(), Depth::default());
}
