//! Rounds that are made again of what was kept of them.

use std::fs;

use artifacts::Key;
use federation::RunId;
use federation::run::RunState;
use orchestrator::aggregate::fold_into;
use orchestrator::checkpoint;
use proto::fault;
use proto::v1::jobs_client::JobsClient;
use proto::v1::{ListRoundsRequest, ReplayRequest, ReplayResponse, Round};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::worker::Worker;
use crate::world::{Rules, World, job};

/// A run of four rounds with three clients.
async fn trained() -> (World, RunId) {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(3, 4)).await;
    worker.work_on(12).await;
    world.until_state(run, RunState::Completed).await;
    (world, run)
}

async fn replay(world: &World, run: RunId, round: u32) -> Result<ReplayResponse, Status> {
    let run = run.to_string();
    let mut jobs = JobsClient::new(world.channel.clone());
    let answer = jobs.replay(ReplayRequest { run, round }).await;
    answer.map(tonic::Response::into_inner)
}

async fn rounds(world: &World, run: RunId, page_size: u32, after: u32) -> Vec<Round> {
    let request = ListRoundsRequest {
        run: run.to_string(),
        page_size,
        page_token: if after == 0 {
            String::new()
        } else {
            after.to_string()
        },
    };
    let mut jobs = JobsClient::new(world.channel.clone());
    let answer = jobs.list_rounds(request).await.unwrap();
    answer.into_inner().rounds
}

fn in_spool(world: &World) -> usize {
    fs::read_dir(&world.study.spool).unwrap().count()
}

#[tokio::test]
async fn each_round_started_from_the_model_of_the_one_before_it() {
    let (world, run) = trained().await;
    let all = rounds(&world, run, 0, 0).await;
    let initial = checkpoint::manifest(&world.study.blobs, run, 0).await;
    let mut base = initial.unwrap().unwrap().model.digest.to_string();
    for round in &all {
        assert_eq!(round.base_digest, base, "round {}", round.round);
        base.clone_from(&round.model_digest);
    }
    // So it is where a page begins in the middle.
    assert_eq!(rounds(&world, run, 1, 2).await, all[2..3]);
}

#[tokio::test]
async fn every_kept_round_comes_to_the_same_model_and_leaves_nothing_behind() {
    let (world, run) = trained().await;
    for round in rounds(&world, run, 0, 1).await {
        let answer = replay(&world, run, round.round).await.unwrap();
        assert!(answer.equal);
        assert_eq!(answer.recorded_digest, round.model_digest);
        assert_eq!(answer.replayed_digest, round.model_digest);
        assert_eq!(answer.base_digest, round.base_digest);
        let used = answer.updates.iter();
        let used: Vec<_> = used.map(|update| (&update.client, update.weight)).collect();
        let counted = round.updates.iter();
        let counted: Vec<_> = counted
            .map(|update| (&update.client, update.weight))
            .collect();
        assert_eq!((used.len(), used), (3, counted));
    }
    assert_eq!(in_spool(&world), 0);
    world
        .until_shown(&["pangea_replays_total{outcome=\"equal\"} 3"])
        .await;
}

#[tokio::test]
async fn a_round_whose_updates_are_gone_is_refused_with_what_would_have_kept_them() {
    let (world, run) = trained().await;
    let status = replay(&world, run, 1).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(fault::reason(&status).as_deref(), Some("ROUND_NOT_KEPT"));
    let metadata = |key| fault::metadata(&status, key);
    assert_eq!(metadata("replayable").as_deref(), Some("2,3,4"));
    assert_eq!(
        status.message(),
        "round 1 cannot be replayed: its updates are gone, as updates are kept for 3 rounds; rounds \
         2, 3, 4 can be replayed; to keep those of later rounds for longer, raise runs.keep_rounds \
         in the orchestrator's settings"
    );
    // Without the model that it started from, the second one cannot be either.
    fs::remove_file(world.model_file(run, 1)).unwrap();
    let status = replay(&world, run, 2).await.unwrap_err();
    let told = "the model that it started from is gone";
    assert!(status.message().contains(told), "{}", status.message());
    let replayable = fault::metadata(&status, "replayable");
    assert_eq!(replayable.as_deref(), Some("3,4"));
}

#[tokio::test]
async fn a_round_that_is_not_committed_is_refused() {
    let (world, run) = trained().await;
    for round in [0, 5] {
        let status = replay(&world, run, round).await.unwrap_err();
        let reason = fault::reason(&status);
        assert_eq!(reason.as_deref(), Some("ROUND_NOT_COMMITTED"));
        let told =
            format!("round {round} of run {run} is not committed; its rounds from 1 to 4 are");
        assert!(status.message().starts_with(&told), "{}", status.message());
    }
}

#[tokio::test]
async fn an_update_that_changed_by_a_byte_is_named() {
    let (world, run) = trained().await;
    let receipt = world.receipts(run, 3).await.remove(1);
    let path = world.study.blobs.path_of(&receipt.key.parse().unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    let status = replay(&world, run, 3).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    let client = fault::metadata(&status, "client");
    assert_eq!(client.as_deref(), Some("client-0001"));
    assert!(
        status.message().contains(&receipt.key),
        "{}",
        status.message()
    );
    assert!(replay(&world, run, 4).await.unwrap().equal);
}

#[tokio::test]
async fn a_record_that_tells_of_another_model_is_told_as_different() {
    let (world, run) = trained().await;
    let key = Key::checkpoint_manifest(run, 4);
    let path = world.study.blobs.path_of(&key);
    let manifest = checkpoint::manifest(&world.study.blobs, run, 4).await;
    let digest = manifest.unwrap().unwrap().model.digest.to_string();
    let other = digest.replace(&digest[10..12], "00");
    assert_ne!(other, digest);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&digest, &other)).unwrap();

    let answer = replay(&world, run, 4).await.unwrap();
    assert!(!answer.equal);
    assert_eq!(answer.recorded_digest, other);
    assert_eq!(answer.replayed_digest, digest);
    world
        .until_shown(&["pangea_replays_total{outcome=\"different\"} 1"])
        .await;
}

#[tokio::test]
async fn a_fold_that_nobody_waits_for_stops_and_leaves_no_file() {
    let (world, run) = trained().await;
    let base = checkpoint::manifest(&world.study.blobs, run, 3).await;
    let base = base.unwrap().unwrap();
    let updates = world.receipts(run, 4).await;
    let output = world.study.spool.join("f");
    let stop = CancellationToken::new();
    stop.cancel();
    let folded = fold_into(&world.study, &base, 4, &updates, &output, &stop).await;
    let told = folded.unwrap_err().to_string();
    assert!(told.contains("nobody waits"), "{told}");
    assert_eq!(in_spool(&world), 0);
}
