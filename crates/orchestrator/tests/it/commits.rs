//! Checkpoints: rounds do not wait for them, and two may write to the same place.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use federation::Digest;
use federation::run::RunState;
use orchestrator::checkpoint::{self, CheckpointError, Manifest};
use orchestrator::study::Study;

use seams::{Call, Listener, Passage, Seams, Waiting};
use tokio::sync::Semaphore;

use crate::worker::Worker;
use crate::world::{Rules, World, job};

async fn committed(study: &Study, run: federation::RunId, round: u32) -> Manifest {
    let manifest = checkpoint::manifest(&study.blobs, run, round).await;
    manifest.unwrap().expect("a committed round")
}

#[tokio::test]
async fn who_commits_a_round_again_finds_what_stands() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 1)).await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    let (study, blobs) = (&world.study, &world.study.blobs);
    let first = committed(study, run, 1).await;

    // The same model, told of later.
    let mut later = first.clone();
    later.outcome.as_mut().unwrap().duration_ms += 1;
    let standing = checkpoint::commit(blobs, later).await.unwrap();
    assert_eq!(standing.outcome, first.outcome);
    assert_eq!(committed(study, run, 1).await.outcome, first.outcome);

    // Another model: the round was not taken by its row, and was trained again.
    let mut other = first.clone();
    other.model.digest = Digest::of(b"another");
    checkpoint::commit(blobs, other.clone()).await.unwrap();
    assert_eq!(committed(study, run, 1).await.model, other.model);

    // One who is behind does not lead back.
    let behind = committed(study, run, 0).await;
    let refused = checkpoint::commit(blobs, behind).await.unwrap_err();
    assert!(
        matches!(refused, CheckpointError::Overtaken { .. }),
        "{refused}"
    );
}

/// Lets no checkpoint come to the disk before it is opened.
#[derive(Debug)]
struct Gate(Arc<Semaphore>);

impl Listener for Gate {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        let gate = Arc::clone(&self.0);
        (call.operation == "settle").then(|| -> Waiting {
            Box::pin(async move {
                drop(gate.acquire().await.unwrap());
                Passage::Free
            })
        })
    }
}

#[tokio::test]
async fn the_first_round_trains_while_the_initial_checkpoint_is_written() {
    let gate = Arc::new(Semaphore::new(0));
    let rules = Rules {
        artifacts: Seams::heard_by(Arc::new(Gate(Arc::clone(&gate)))),
        ..Rules::default()
    };
    let world = World::new(rules).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 1)).await;
    worker.work_on(1).await;
    let initial = checkpoint::manifest(&world.study.blobs, run, 0).await;
    assert_eq!(initial.unwrap(), None, "it is not written yet");
    gate.add_permits(1);
    world.until_state(run, RunState::Completed).await;
    let first = committed(&world.study, run, 1).await;
    let initial = committed(&world.study, run, 0).await;
    assert_eq!(first.parent, Some(initial.model.digest));
}

/// Keeps so many checkpoints from the disk.
#[derive(Debug)]
struct Refused(AtomicU32);

impl Listener for Refused {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        if call.operation != "settle" {
            return None;
        }
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        (left > 0).then(|| -> Waiting { Box::pin(ready(Passage::Refused)) })
    }
}

#[tokio::test]
async fn an_initial_checkpoint_is_tried_again_and_no_task_is_sent_twice_for_it() {
    let rules = Rules {
        artifacts: Seams::heard_by(Arc::new(Refused(AtomicU32::new(3)))),
        ..Rules::default()
    };
    let world = World::new(rules).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    let stalls = "pangea_stalls_total{waiting_for=\"artifacts\"} 1";
    world.until_shown(&[stalls]).await;
    worker.work_on(2).await;
    world.until_state(run, RunState::Completed).await;
    assert!(worker.lease_now().await.is_none());
    let receipts = world.receipts(run, 1).await;
    assert_eq!(receipts.len(), 2, "{receipts:#?}");
}
