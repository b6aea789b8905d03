//! How many compute at once, and what becomes of those whose caller is gone.

use std::sync::Arc;
use std::time::Duration;

use federation::local::{LocalDuration, LocalTraining, Schedule};
use proto::engine::{Engine, EngineError, TrainWord};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::core::{MIB, examples, inputs, mlp, parameters, rows, serve, sgd};

const PATIENCE: Duration = Duration::from_secs(30);

/// A training of many words, and the steps it has told of.
struct Long {
    /// Rings whenever it says that it waits for its turn.
    queued: Arc<Notify>,
    steps: mpsc::UnboundedReceiver<u32>,
    call: JoinHandle<Result<(), EngineError>>,
}

impl Long {
    /// Progress is told twenty times; by then a few seconds have passed.
    fn start(engine: &Engine) -> Self {
        let (told, steps) = mpsc::unbounded_channel();
        let queued = Arc::new(Notify::new());
        let waits = Arc::clone(&queued);
        let engine = engine.clone();
        let call = tokio::spawn(async move {
            let model = mlp(128, 256);
            let (base, shard) = (parameters(&model, 7), examples(&rows(256, 128, 0.2)));
            let local = LocalTraining {
                duration: LocalDuration::Steps(4000),
                batch_size: 256,
                schedule: Schedule::Constant,
                clip_norm: None,
                ..sgd(1, 0.01)
            };
            let mut on_word = |word| match word {
                TrainWord::Progress(progress) => told.send(progress.step).unwrap_or_default(),
                TrainWord::Queued => waits.notify_one(),
                TrainWord::Delta | TrainWord::Lacking | TrainWord::Supplied => {}
            };
            let trained = engine.train(&model, inputs(&base, &shard), &local, 9, &mut on_word);
            trained.await.map(drop)
        });
        Self {
            queued,
            steps,
            call,
        }
    }

    async fn progress(&mut self) -> u32 {
        let step = timeout(PATIENCE, self.steps.recv()).await.unwrap();
        step.expect("the training ended")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_training_frees_its_slot() {
    let core = serve(16 * MIB, 1);
    let mut long = Long::start(&core.engine);
    long.progress().await;
    long.call.abort();

    let model = mlp(6, 4);
    let (base, shard) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    let evaluated = core.engine.evaluate(&model, inputs(&base, &shard));
    timeout(PATIENCE, evaluated).await.unwrap().unwrap();
    let ended = (
        core.metrics.errors.of("cancelled").get(),
        core.metrics.steps.get(),
    );
    assert_eq!(ended, (1, 0), "it was to end early, not to be waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_allowed_compute_at_once() {
    let core = serve(16 * MIB, 2);
    let mut running = [Long::start(&core.engine), Long::start(&core.engine)];
    for long in &mut running {
        long.progress().await;
    }
    let mut waiting = Long::start(&core.engine);
    timeout(PATIENCE, waiting.queued.notified()).await.unwrap();
    for long in &mut running {
        long.progress().await;
        long.progress().await;
    }
    assert!(waiting.steps.is_empty(), "two slots, three trainings");
    let metrics = &core.metrics;
    let counted = (metrics.active_tasks.get(), metrics.waiting_tasks.get());
    assert_eq!(counted, (2, 1));
    running[0].call.abort();
    waiting.progress().await;
    for long in [&running[1], &waiting] {
        long.call.abort();
    }
}
