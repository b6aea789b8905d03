//! What is done behind a round that trains: the last model is measured, and its checkpoint written.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use federation::job::JobDraft;
use federation::run::{Command, RunState};
use federation::stop::{Metric, Target};
use federation::{Digest, RunId};
use orchestrator::checkpoint::{self, Manifest};
use proto::engine::{Input, Inputs, Loading};
use seams::{Call, Listener, Passage, Seams, Waiting};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::commits::committed;
use crate::worker::Worker;
use crate::world::{PATIENCE, Rules, World, job};

/// The call in which a checkpoint comes to the disk.
const SETTLE: &str = "settle";

/// The call in which a model is measured.
const EVALUATE: &str = "/pangea.v1.Compute/Evaluate";

/// Lets so many calls of an operation through, and the others when it is opened.
#[derive(Debug)]
struct Gate {
    operation: &'static str,
    free: AtomicU32,
    opened: Semaphore,
}

impl Gate {
    fn after(free: u32, operation: &'static str) -> Arc<Self> {
        Arc::new(Self {
            operation,
            free: AtomicU32::new(free),
            opened: Semaphore::new(0),
        })
    }

    fn open(&self) {
        self.opened.close();
    }
}

/// A gate, as those hear of it who are to wait at it.
#[derive(Debug)]
struct At(Arc<Gate>);

impl Listener for At {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        let gate = Arc::clone(&self.0);
        if call.operation != gate.operation || take(&gate.free) {
            return None;
        }
        Some(Box::pin(async move {
            // It has no permits, and is closed some day.
            drop(gate.opened.acquire().await);
            Passage::Free
        }))
    }
}

/// Refuses so many calls of an operation.
#[derive(Debug)]
pub(crate) struct Refused {
    operation: &'static str,
    left: AtomicU32,
}

impl Refused {
    fn new(left: u32, operation: &'static str) -> Self {
        let left = AtomicU32::new(left);
        Self { operation, left }
    }

    pub(crate) fn times(left: u32, operation: &'static str) -> Seams {
        Seams::heard_by(Arc::new(Self::new(left, operation)))
    }
}

impl Listener for Refused {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        let refuses = call.operation == self.operation && take(&self.left);
        refuses.then(|| -> Waiting { Box::pin(ready(Passage::Refused)) })
    }
}

/// Takes one of what is left, if anything is.
fn take(left: &AtomicU32) -> bool {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    });
    taken.is_ok()
}

fn at(gate: &Arc<Gate>) -> Seams {
    Seams::heard_by(Arc::new(At(Arc::clone(gate))))
}

/// A run that has begun, and a worker for it.
async fn begin(rules: Rules, job: JobDraft) -> (World, Worker, RunId) {
    let world = World::new(rules).await;
    let worker = Worker::connect(&world, "w").await;
    let run = world.submit(job).await;
    (world, worker, run)
}

async fn manifest(world: &World, run: RunId, round: u32) -> Option<Manifest> {
    let manifest = checkpoint::manifest(&world.study.blobs, run, round);
    manifest.await.unwrap()
}

/// The digests of a run's models, one after the other.
async fn models(job: JobDraft, rounds: u32, tasks: usize) -> Vec<Digest> {
    let (world, mut worker, run) = begin(Rules::default(), job).await;
    worker.work_on(tasks).await;
    world.until_state(run, RunState::Completed).await;
    let mut digests = Vec::new();
    for round in 0..=rounds {
        digests.push(committed(&world.study, run, round).await.model.digest);
    }
    digests
}

#[tokio::test]
async fn the_first_round_trains_while_the_initial_checkpoint_is_written() {
    let gate = Gate::after(0, SETTLE);
    let rules = Rules {
        artifacts: at(&gate),
        ..Rules::default()
    };
    let (world, mut worker, run) = begin(rules, job(1, 1)).await;
    worker.work_on(1).await;
    assert_eq!(manifest(&world, run, 0).await, None, "it is not written");
    gate.open();
    world.until_state(run, RunState::Completed).await;
    let first = committed(&world.study, run, 1).await;
    let initial = committed(&world.study, run, 0).await;
    assert_eq!(first.parent, Some(initial.model.digest));
}

#[tokio::test]
async fn a_round_trains_while_the_last_one_is_written() {
    let gate = Gate::after(1, SETTLE);
    let rules = Rules {
        artifacts: at(&gate),
        ..Rules::default()
    };
    let (world, mut worker, run) = begin(rules, job(1, 3)).await;
    let leased = worker.work_on(2).await;
    assert_eq!(leased[1].id.round, 2);
    assert_eq!(manifest(&world, run, 1).await, None, "it is not written");
    assert!(worker.lease_now().await.is_none(), "one round is ahead");
    gate.open();
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    committed(&world.study, run, 3).await;
}

#[tokio::test]
async fn a_round_trains_while_the_last_model_is_measured() {
    let gate = Gate::after(0, EVALUATE);
    let rules = Rules {
        calls: at(&gate),
        ..Rules::default()
    };
    let (world, mut worker, run) = begin(rules, job(1, 2)).await;
    let leased = worker.work_on(2).await;
    assert_eq!(leased[1].id.round, 2);
    assert_eq!(manifest(&world, run, 1).await, None, "it is not measured");
    gate.open();
    world.until_state(run, RunState::Completed).await;
    let manifest = committed(&world.study, run, 2).await;
    let outcome = manifest.outcome.unwrap();
    let shown = format!(
        "federated_model_accuracy{{run=\"{run}\"}} {}",
        outcome.accuracy.unwrap()
    );
    world.until_shown(&[&shown]).await;
}

#[tokio::test]
async fn compute_core_holds_the_newest_model_of_a_run_alone() {
    let (world, mut worker, run) = begin(Rules::default(), job(1, 3)).await;
    worker.work_on(3).await;
    world.until_state(run, RunState::Completed).await;
    let last = committed(&world.study, run, 3).await;
    assert!(is_held(&world, &last).await);
    for round in 0..3 {
        let before = committed(&world.study, run, round).await;
        assert!(!is_held(&world, &before).await, "model {round}");
    }
}

/// Whether compute-core can do without being brought a model's parameters.
async fn is_held(world: &World, manifest: &Manifest) -> bool {
    let parameters = manifest.model.body(&manifest.architecture);
    let asked_for = || -> Loading<'_> { Box::pin(ready(Err("they are asked for".into()))) };
    let input = || Input {
        body: &parameters,
        load: Box::new(asked_for),
    };
    let inputs = Inputs {
        parameters: input(),
        examples: input(),
    };
    world.study.engine.hold(&inputs).await.is_ok()
}

#[tokio::test]
async fn no_round_begins_before_it_is_known_whether_the_run_stops() {
    let gate = Gate::after(0, EVALUATE);
    let rules = Rules {
        calls: at(&gate),
        ..Rules::default()
    };
    let mut job = job(1, 2);
    job.stop.target = Some(Target {
        metric: Metric::Loss,
        value: 1e9,
    });
    let (world, mut worker, run) = begin(rules, job).await;
    worker.work_on(1).await;
    assert!(worker.lease_now().await.is_none());
    gate.open();
    let row = world.until_state(run, RunState::Completed).await;
    assert_eq!(row.rounds_committed, 1, "{}", row.reason);
    assert!(worker.lease_now().await.is_none());
}

#[tokio::test]
async fn an_initial_checkpoint_is_tried_again_and_no_task_is_sent_twice_for_it() {
    let rules = Rules {
        artifacts: Refused::times(3, SETTLE),
        ..Rules::default()
    };
    let (world, mut worker, run) = begin(rules, job(2, 1)).await;
    let stalls = "pangea_stalls_total{waiting_for=\"artifacts\"} 1";
    world.until_shown(&[stalls]).await;
    worker.work_on(2).await;
    world.until_state(run, RunState::Completed).await;
    assert!(worker.lease_now().await.is_none());
    let receipts = world.receipts(run, 1).await;
    assert_eq!(receipts.len(), 2, "{receipts:#?}");
}

#[tokio::test]
async fn a_round_trains_while_nobody_can_measure_the_last_model_and_nothing_is_done_twice() {
    let refused = Arc::new(Refused::new(u32::MAX, EVALUATE));
    let rules = Rules {
        calls: Seams::heard_by(Arc::clone(&refused) as _),
        ..Rules::default()
    };
    let mut job = job(2, 2);
    job.publish_as = Some("m".to_owned());
    let (world, mut worker, run) = begin(rules, job).await;
    let leased = worker.work_on(4).await;
    assert_eq!(leased[3].id.round, 2, "the second trains meanwhile");
    let stalls = "pangea_stalls_total{waiting_for=\"compute-core\"} 3";
    world.until_shown(&[stalls]).await;
    assert_eq!(manifest(&world, run, 1).await, None, "it is not measured");
    refused.left.store(0, Ordering::Relaxed);
    world.until_state(run, RunState::Completed).await;
    for round in [1, 2] {
        let receipts = world.receipts(run, round).await;
        assert_eq!(receipts.len(), 2, "{receipts:#?}");
    }
    assert!(worker.lease_now().await.is_none());
    let published = world.study.store.model("m", None).await.unwrap();
    assert!(published.unwrap().manifest.accuracy.is_some());
}

#[tokio::test]
async fn a_run_whose_last_model_cannot_be_measured_is_paused_and_goes_on() {
    let rules = Rules {
        calls: Refused::times(5, EVALUATE),
        ..Rules::default()
    };
    let (world, mut worker, run) = begin(rules, job(1, 2)).await;
    worker.work_on(1).await;
    world.command(run, Command::Pause).await;
    world.until_state(run, RunState::Paused).await;
    world.command(run, Command::Resume).await;
    // A task may come again: nobody knows what of the second round stood before the pause.
    let working = async {
        while world.row(run).await.state != RunState::Completed {
            if let Some(leased) = worker.lease_now().await {
                let done = worker.train(&leased).await;
                worker.report(done).await;
                worker.acknowledge(&leased).await;
            }
        }
    };
    timeout(PATIENCE, working).await.expect("the run ends");
    assert_eq!(committed(&world.study, run, 2).await.round, 2);
}

#[tokio::test]
async fn models_are_the_same_whether_rounds_wait_for_what_is_measured_or_not() {
    let mut waiting = job(2, 3);
    // Never reached.
    waiting.stop.target = Some(Target {
        metric: Metric::Loss,
        value: -1.0,
    });
    let behind = Box::pin(models(job(2, 3), 3, 6)).await;
    let waited = Box::pin(models(waiting, 3, 6)).await;
    assert_eq!(behind, waited);
}
