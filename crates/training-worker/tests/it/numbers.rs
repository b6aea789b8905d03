//! What is counted while tasks are done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clock::{Clock, ManualClock, Timestamp};
use proto::engine::Engine;
use proto::transport::{Address, Pipe, channel};
use seams::Seams;
use task_queue::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};
use tokio_util::sync::CancellationToken;
use training_worker::curves::SHOWN_FOR;

use crate::workshop::{ROWS, Scene, model, run_id, serve_compute, soon};

fn has(scene: &Scene, line: &str) -> bool {
    scene.numbers().lines().any(|own| own == line)
}

#[tokio::test]
async fn a_task_moves_the_numbers() {
    let mut scene = Scene::new();
    let task = scene.task(3).await;
    let bytes = |blob: &Option<proto::v1::BlobRef>| {
        let body = blob.as_ref().unwrap().body.as_ref();
        body.unwrap().length_bytes
    };
    let (parameters, shard) = (bytes(&task.parameters), bytes(&task.shard));
    scene.send(&task, &[]).await;
    scene.work(1).await;

    let metrics = &scene.workshop.metrics;
    assert_eq!((metrics.batches.get(), metrics.epochs.get()), (4, 2));
    assert_eq!(metrics.step_seconds.count(), 4, "four steps, each told of");
    assert_eq!(metrics.updates.of("accepted").get(), 1);
    assert_eq!(metrics.bytes.of("to_workers").get(), parameters + shard);
    assert_eq!(metrics.bytes.of("from_workers").get(), parameters);
    assert_eq!(metrics.tasks.of("judged").get(), 1);
    assert_eq!(metrics.tasks_running.get(), 0);
    assert_eq!(metrics.task_seconds.count(), 1);
    assert_eq!(metrics.connected.get(), 1);
    for phase in ["fetch", "train", "report"] {
        assert_eq!(metrics.phase_seconds.of(phase).count(), 1, "{phase}");
    }
    assert_eq!(metrics.phase_seconds.of("store").count(), 0, "it is small");
    let count = model().num_parameters();
    for name in ["model_parameters_count", "model_parameters_total"] {
        assert!(has(&scene, &format!("{name} {count}")), "{name}");
    }

    // The same again: nothing of it has to travel.
    scene.send(&task, &[]).await;
    scene.work(1).await;
    let metrics = &scene.workshop.metrics;
    assert_eq!(metrics.bytes.of("to_workers").get(), parameters + shard);
    assert_eq!(metrics.batches.get(), 8);
    let phase = |phase| metrics.phase_seconds.of(phase).count();
    assert_eq!(
        (phase("fetch"), phase("train")),
        (2, 2),
        "the first one lacked both"
    );
    scene.send(&task, &[]).await;
    scene.work(1).await;
    let phase = |phase| scene.workshop.metrics.phase_seconds.of(phase).count();
    assert_eq!(
        (phase("fetch"), phase("train")),
        (2, 3),
        "nobody asks in vain"
    );
}

#[tokio::test]
async fn what_compute_core_has_let_go_of_is_fetched_again_unasked() {
    let mut scene = Scene::new();
    let task = scene.task(3).await;
    for _each in 0..2 {
        scene.send(&task, &[]).await;
        scene.work(1).await;
    }
    let fetched = scene.workshop.metrics.bytes.of("to_workers").get();
    scene.workshop_mut().engine = Engine::over(channel(&serve_compute(Seams::default())));
    scene.send(&task, &[]).await;
    scene.work(1).await;
    let metrics = &scene.workshop.metrics;
    assert_eq!(metrics.updates.of("accepted").get(), 3);
    assert_eq!(metrics.bytes.of("to_workers").get(), 2 * fetched);
}

#[tokio::test]
async fn batches_after_the_last_word_on_a_training_count_too() {
    let mut scene = Scene::new();
    let mut task = scene.task(3).await;
    // Every third step is told of: the last two are not.
    let steps = proto::v1::local_training::Duration::Steps(41);
    task.local.as_mut().unwrap().duration = Some(steps);
    scene.send(&task, &[]).await;
    scene.work(1).await;
    let metrics = &scene.workshop.metrics;
    assert_eq!((metrics.batches.get(), metrics.epochs.get()), (41, 20));
}

#[tokio::test]
async fn a_task_that_cannot_be_done_counts_as_failed() {
    let mut scene = Scene::new();
    let task = scene.task(4).await;
    scene.send(&task, &[]).await;
    scene.work(1).await;
    let metrics = &scene.workshop.metrics;
    assert_eq!(metrics.updates.of("failed").get(), 1);
    assert_eq!(metrics.updates.of("accepted").get(), 0);
    assert_eq!(metrics.phase_seconds.of("train").count(), 0);
    assert_eq!(metrics.phase_seconds.of("report").count(), 1);
}

/// The value of a run's gauge, if it is shown.
fn shown(scene: &Scene, name: &str) -> Option<f64> {
    let series = format!("{name}{{job=\"{}\"}} ", run_id());
    let numbers = scene.numbers();
    let value = numbers.lines().find_map(|line| line.strip_prefix(&series));
    value.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn a_run_is_shown_while_this_worker_hears_of_it() {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let mut scene = Scene::on(Arc::clone(&clock) as Arc<dyn Clock>);
    assert_eq!(shown(&scene, "training_loss"), None);
    let task = scene.task(3).await;
    scene.send(&task, &[]).await;
    scene.work(1).await;
    clock.advance(SHOWN_FOR - Duration::from_secs(1));
    assert!(shown(&scene, "training_loss").unwrap() > 0.0);
    let right = shown(&scene, "training_accuracy").unwrap() * ROWS as f64;
    assert!((right - right.round()).abs() < 1e-9, "{right} of all rows");
    clock.advance(Duration::from_secs(1));
    assert_eq!(shown(&scene, "training_loss"), None);
    assert_eq!(shown(&scene, "training_accuracy"), None);
}

/// A queue that lets go of a lease at its third extension.
#[derive(Debug)]
struct Forgetful {
    inner: Arc<dyn TaskQueue>,
    extensions: std::sync::atomic::AtomicU32,
}

#[async_trait]
impl TaskQueue for Forgetful {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        self.inner.send(messages).await
    }

    async fn receive(
        &self,
        pins: &[String],
        max: std::num::NonZeroUsize,
        _: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        // Nothing comes back while the test looks on.
        let lease_ttl = Duration::from_secs(3600);
        self.inner.receive(pins, max, lease_ttl, wait).await
    }

    async fn extend(&self, handle: &LeaseHandle, _: Duration) -> Result<(), QueueError> {
        let before = &self.extensions;
        match before.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Ok(()),
            1 => Err(QueueError::Unavailable {
                message: "busy".to_owned(),
            }),
            _ => Err(QueueError::LeaseLost {
                handle: handle.clone(),
            }),
        }
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
async fn attempts_to_keep_a_task_are_counted_by_what_became_of_them() {
    let mut scene = Scene::new();
    // Nobody gives a verdict, so that the task is in work until its lease is lost.
    let (hello, drain) = (
        proto::v1::worker_message::Hello::default(),
        CancellationToken::new(),
    );
    scene.workshop_mut().session = training_worker::session::Session::new(hello, drain);
    scene.workshop_mut().queue = Arc::new(Forgetful {
        inner: Arc::clone(&scene.workshop.queue),
        extensions: 0.into(),
    });
    scene.workshop_mut().lease.ttl = Duration::from_millis(100);
    let task = scene.task(3).await;
    scene.send(&task, &[]).await;
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let metrics = scene.workshop.metrics.clone();
    let lost = async {
        while metrics.tasks.of("lost").get() == 0 {
            tokio::task::yield_now().await;
        }
        drain.cancel();
    };
    soon(async { tokio::join!(lost, scene.working(&drain, &stop)) }).await;
    for outcome in ["extended", "failed", "lost"] {
        let count = metrics.lease_extensions.of(outcome).get();
        assert_eq!(count, 1, "{outcome}");
    }
    assert_eq!(metrics.tasks_running.get(), 0);
}

#[tokio::test]
async fn a_pause_before_another_try_is_counted() {
    let mut scene = Scene::new();
    // A compute-core that is away.
    scene.workshop_mut().engine = Engine::over(channel(&Address::Pipe(Pipe::default())));
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let metrics = scene.workshop.metrics.clone();
    let tried = async {
        while metrics.retries.of("lease").get() == 0 {
            tokio::task::yield_now().await;
        }
        drain.cancel();
    };
    soon(async { tokio::join!(tried, scene.working(&drain, &stop)) }).await;
}
