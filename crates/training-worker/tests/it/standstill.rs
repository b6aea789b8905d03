//! A training that goes on, and says so, is waited for; one of which nothing is heard is not.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use artifacts::BlobStore;
use clock::{Clock, ManualClock, Timestamp};
use proto::engine::Engine;
use proto::transport::channel;
use seams::{Call, Listener, Seams, Waiting};
use telemetry::metrics::IntCounter;
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
