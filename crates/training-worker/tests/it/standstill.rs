//! A training that goes on, and says so, is waited for; one of which nothing is heard is not.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use artifacts::BlobStore;
use clock::{Clock, ManualClock, Timestamp};
use proto::engine::Engine;
use proto::transport::channel;
use seams::{Call, Listener, Passage, Seams, Waiting};
use telemetry::metrics::IntCounter;
use tokio::sync::Semaphore;
use training_worker::train::{Means, Task, TrainError, hold, train};

use crate::workshop::{Scene, serve_compute};

const PATIENCE: Duration = Duration::from_secs(30);

/// Has trainings begin and never go on.
#[derive(Debug)]
struct StandsStill;

impl Listener for StandsStill {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        (call.operation == "train").then(|| -> Waiting { Box::pin(pending()) })
    }
}

#[tokio::test]
async fn a_training_of_which_nothing_is_heard_is_given_up() {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let scene = Scene::on(Arc::clone(&clock) as Arc<dyn Clock>);
    let task = Task::try_from(scene.task(3).await).unwrap();
    let store: Arc<dyn BlobStore> = Arc::new(scene.store.clone());
    let compute = serve_compute(Seams::heard_by(Arc::new(StandsStill)));
    let engine = Engine::over(channel(&compute));
    let bytes = IntCounter::new("fetched_total", "Fetched.").unwrap();
    let idle_timeout = scene.workshop.idle_timeout;
    let with = Means {
        store: &store,
        engine: &engine,
        fetched_bytes: &bytes,
        lacked: &AtomicBool::new(true),
        clock: clock.as_ref(),
        idle_timeout,
    };
    hold(&task, with).await.unwrap();
    let mut on_progress = |_| {};
    let training = train(&task, with, &mut on_progress);
    let moving = async {
        loop {
            tokio::task::yield_now().await;
            clock.advance(idle_timeout / 4);
        }
    };
    let given_up = async {
        tokio::select! {
            biased;
            trained = training => trained,
            () = moving => unreachable!("it has no end"),
        }
    };
    let given_up = tokio::time::timeout(PATIENCE, given_up).await.unwrap();
    let error = given_up.map(drop).unwrap_err();
    assert!(matches!(error, TrainError::Silent { silence } if silence == idle_timeout));
    assert!(error.is_transient(), "another worker may take it");
}

/// Lets no object be read before it is opened.
#[derive(Debug)]
struct Closed(Arc<Semaphore>);

impl Listener for Closed {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        let gate = Arc::clone(&self.0);
        (call.operation == "get").then(|| -> Waiting {
            Box::pin(async move {
                drop(gate.acquire().await.unwrap());
                Passage::Free
            })
        })
    }
}

#[tokio::test]
async fn what_compute_core_lacks_may_take_longer_to_come_than_a_training_may_be_silent() {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let scene = Scene::on(Arc::clone(&clock) as Arc<dyn Clock>);
    let task = Task::try_from(scene.task(3).await).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let closed = Seams::heard_by(Arc::new(Closed(Arc::clone(&gate))));
    let store: Arc<dyn BlobStore> = Arc::new(scene.store.clone().through(closed));
    let bytes = IntCounter::new("fetched_total", "Fetched.").unwrap();
    let (idle_timeout, lacked) = (scene.workshop.idle_timeout, AtomicBool::new(false));
    let with = Means {
        store: &store,
        engine: &scene.workshop.engine,
        fetched_bytes: &bytes,
        lacked: &lacked,
        clock: clock.as_ref(),
        idle_timeout,
    };
    let mut on_progress = |_| {};
    let training = train(&task, with, &mut on_progress);
    let loading = async {
        while !lacked.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        for _quarter in 0..12 {
            clock.advance(idle_timeout / 4);
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
    };
    let both = async { tokio::join!(training, loading) };
    let (trained, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    trained.unwrap();
}
