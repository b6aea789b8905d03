//! Several slots of one worker.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::v1::worker_message::Hello;
use task_queue::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};
use tokio_util::sync::CancellationToken;
use training_worker::session::Session;

use crate::workshop::{Scene, soon};

/// A queue that remembers how many tasks it was asked for.
#[derive(Debug)]
struct Asked {
    inner: Arc<dyn TaskQueue>,
    max: Mutex<Vec<usize>>,
}

impl Asked {
    fn max(&self) -> Vec<usize> {
        self.max
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl TaskQueue for Asked {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        self.inner.send(messages).await
    }

    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.max
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(max.get());
        self.inner.receive(pins, max, lease_ttl, wait).await
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        self.inner.extend(handle, lease_ttl).await
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        self.inner.give_back(handle, delay).await
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        self.inner.acknowledge(handle).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.inner.depth().await
    }
}

#[tokio::test]
async fn a_worker_leases_for_half_of_its_free_slots_until_none_is_free() {
    let mut scene = Scene::new();
    // Nobody gives a verdict, so that tasks stay in work.
    let session = Session::new(Hello::default(), CancellationToken::new());
    let queue = Arc::new(Asked {
        inner: Arc::clone(&scene.workshop.queue),
        max: Mutex::default(),
    });
    let workshop = scene.workshop_mut();
    workshop.session = session;
    workshop.queue = Arc::clone(&queue) as Arc<dyn TaskQueue>;
    let task = scene.task(3).await;
    for _task in 0..10 {
        scene.send(&task, &[]).await;
    }
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let slots = NonZeroU32::new(8).unwrap();
    let working = Arc::clone(&scene.workshop).work(slots, &drain, &stop);
    let metrics = scene.workshop.metrics.clone();
    let looking = async {
        while metrics.tasks_running.get() < 8 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.max(), [4, 2, 1, 1]);
        assert_eq!(queue.depth().await.unwrap().visible, 2);
        drain.cancel();
        stop.cancel();
    };
    soon(async { tokio::join!(looking, working) }).await;
    assert_eq!(queue.max(), [4, 2, 1, 1], "no slot was free");
    assert_eq!(metrics.tasks.of("given_back").get(), 8);
}
