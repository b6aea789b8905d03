//! Checkpoints: two may write to the same place.

use federation::Digest;
use federation::run::RunState;
use orchestrator::checkpoint::{self, CheckpointError, Manifest};
use orchestrator::study::Study;

use crate::worker::Worker;
use crate::world::{Rules, World, job};

pub(crate) async fn committed(study: &Study, run: federation::RunId, round: u32) -> Manifest {
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
    let initial = committed(study, run, 0).await;
    let mut behind = initial.clone();
    behind.model.digest = Digest::of(b"another");
    let refused = checkpoint::commit(blobs, behind).await.unwrap_err();
    assert_eq!(committed(study, run, 0).await, initial);
    assert!(
        matches!(refused, CheckpointError::Overtaken { .. }),
        "{refused}"
    );
}
