//! What is removed of a store, what stays, and what a budget does.

use std::time::Duration;

use artifacts::{BlobStore, Key, Kind, fetch};
use bytes::Bytes;
use federation::job::JobDraft;
use federation::run::{Command, RunState};
use federation::{ClientId, Digest, RunId, TaskId};
use orchestrator::replay::replay;
use orchestrator::retention::{NoRoom, make_room};
use orchestrator::submit::{SubmitError, submit};
use proto::fault;
use proto::v1::datasets_client::DatasetsClient;
use proto::v1::jobs_client::JobsClient;
use proto::v1::storage_client::StorageClient;
use proto::v1::{
    CollectGarbageRequest, CollectGarbageResponse, ImportDatasetRequest, ImportOptions,
    SubmitRequest, import_dataset_request,
};
use tonic::Code;

use crate::worker::Worker;
use crate::world::{Rules, World, job};

async fn collect(world: &World, remove: bool, grace: Duration) -> CollectGarbageResponse {
    let grace_ms = Some(grace.as_millis().try_into().unwrap());
    let request = CollectGarbageRequest { remove, grace_ms };
    let mut storage = StorageClient::new(world.channel.clone());
    let answer = storage.collect_garbage(request).await.unwrap();
    answer.into_inner()
}

fn objects(answer: &CollectGarbageResponse) -> Vec<(&str, u64)> {
    let kinds = answer.garbage.iter();
    kinds
        .map(|found| (&found.kind[..], found.objects))
        .collect()
}

fn held(answer: &CollectGarbageResponse) -> u64 {
    answer.held.iter().map(|held| held.bytes).sum()
}

fn published(draft: JobDraft) -> JobDraft {
    JobDraft {
        publish_as: Some("m".to_owned()),
        ..draft
    }
}

async fn digest(world: &World, run: RunId) -> Digest {
    let rounds = world.study.store.rounds(run, 0, 100).await.unwrap();
    let last = rounds.into_iter().rfind(|row| row.outcome.is_some());
    last.unwrap().outcome.unwrap().model_digest
}

async fn replays(world: &World, run: RunId, round: u32) -> bool {
    let replayed = replay(&world.study, &world.row(run).await, round).await;
    replayed.is_ok_and(|replayed| replayed.is_equal())
}

/// Two runs that have ended, one that is in its third round, and objects that nobody needs.
struct Worn {
    world: World,
    worker: Worker,
    ended: RunId,
    undisturbed: RunId,
    unfinished: RunId,
    /// An update that a crash kept from being forgotten, one that nobody knows, one of a round that
    /// is not to come, and a shard that was never dealt.
    strays: [Key; 4],
}

async fn worn() -> Worn {
    let world = World::new(Rules {
        keep_rounds: 2,
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let ended = world.submit(published(job(2, 5))).await;
    worker.work_on(10).await;
    world.until_state(ended, RunState::Completed).await;
    let undisturbed = world.submit(job(3, 4)).await;
    worker.work_on(12).await;
    world.until_state(undisturbed, RunState::Completed).await;
    let unfinished = world.submit(job(3, 4)).await;
    worker.work_on(7).await;

    let unknown = RunId(uuid::Uuid::from_u128(7));
    let stray = Bytes::from_static(b"stray");
    let strays = [
        update(ended, 1),
        update(unknown, 1),
        update(ended, 6),
        Key::content(Kind::Shard, &Digest::of(&stray)),
    ];
    for key in &strays {
        world.study.blobs.put(key, stray.clone()).await.unwrap();
    }
    Worn {
        world,
        worker,
        ended,
        undisturbed,
        unfinished,
        strays,
    }
}

async fn there_are(world: &World, keys: &[Key]) -> usize {
    let mut there = 0;
    for key in keys {
        there += usize::from(world.study.blobs.head(key).await.unwrap().is_some());
    }
    there
}

/// The first client's update of a round.
fn update(run: RunId, round: u32) -> Key {
    let task = TaskId {
        run,
        round,
        client: ClientId(0),
        attempt: 1,
    };
    Key::update(&task, 1)
}

#[tokio::test]
async fn what_is_named_is_what_goes() {
    let Worn { world, strays, .. } = worn().await;
    // No run has ended for an hour, so this leaves what is of a young run.
    let careful = collect(&world, false, Duration::from_secs(3600)).await;
    let expected = [
        ("updates", 1),
        // Rounds 0 to 2 of the first run, 0 and 1 of the second.
        ("checkpoints", 5),
        ("shards", 1),
        ("unknown_runs", 1),
        ("uploads", 0),
    ];
    assert_eq!(objects(&careful), expected);
    let named = collect(&world, false, Duration::ZERO).await;
    assert_eq!(objects(&named)[0], ("updates", 2));
    let shards = objects(&named)[2];
    assert_eq!(shards, ("shards", 3), "two were of the first run");
    assert!(!named.removed);
    assert_eq!(there_are(&world, &strays).await, 4);

    let removed = collect(&world, true, Duration::ZERO).await;
    assert_eq!(removed.garbage, named.garbage);
    assert_eq!(removed.held, named.held);
    assert_eq!(there_are(&world, &strays).await, 0);
    let left = collect(&world, false, Duration::ZERO).await;
    assert!(left.garbage.iter().all(|found| found.objects == 0));
    let bytes: u64 = removed.garbage.iter().map(|found| found.bytes).sum();
    assert_eq!(held(&left) + bytes, held(&removed));
    let shards = held_as(&left, "shards");
    world
        .until_shown(&[
            "pangea_garbage_removed_total{kind=\"shards\"} 3",
            "pangea_garbage_removed_total{kind=\"uploads\"} 0",
            &format!("pangea_artifacts_bytes{{kind=\"shards\"}} {shards}"),
        ])
        .await;
}

#[tokio::test]
async fn what_a_model_a_replay_or_a_run_needs_stays() {
    let Worn {
        world,
        mut worker,
        ended,
        undisturbed,
        unfinished,
        strays,
    } = worn().await;
    let mut shards = world.study.blobs.list("shards/").await.unwrap();
    shards.retain(|key| !strays.contains(key));
    collect(&world, true, Duration::ZERO).await;
    let model = world.study.store.model("m", None).await.unwrap().unwrap();
    let file = &model.manifest.model.parameters;
    fetch(&world.study.blobs, file).await.unwrap();
    for (round, is_kept) in [(3, false), (4, true), (5, true)] {
        assert_eq!(replays(&world, ended, round).await, is_kept, "{round}");
    }
    worker.work_on(5).await;
    world.until_state(unfinished, RunState::Completed).await;
    let expected = digest(&world, undisturbed).await;
    assert_eq!(digest(&world, unfinished).await, expected);
    // The shards are dealt again, to the same bytes.
    let again = world.submit(job(2, 5)).await;
    worker.work_on(10).await;
    world.until_state(again, RunState::Completed).await;
    assert_eq!(digest(&world, again).await, digest(&world, ended).await);
    // compute-core holds them all the same, so the run alone does not tell.
    assert_eq!(world.study.blobs.list("shards/").await.unwrap(), shards);
}

fn held_as(answer: &CollectGarbageResponse, kind: &str) -> u64 {
    let held = answer.held.iter().find(|held| held.kind == kind);
    held.unwrap().bytes
}

#[tokio::test]
async fn a_run_that_waits_or_rests_keeps_all_that_it_needs_over_a_restart() {
    let world = World::new(Rules {
        keep_rounds: 0,
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let undisturbed = world.submit(job(2, 4)).await;
    worker.work_on(8).await;
    world.until_state(undisturbed, RunState::Completed).await;
    let run = world.submit(job(2, 4)).await;
    worker.work_on(5).await;
    world.until_committed(run, 2).await;
    world.command(run, Command::Pause).await;
    collect(&world, true, Duration::ZERO).await;

    let world = world.restart(&[]).await;
    collect(&world, true, Duration::ZERO).await;
    world.command(run, Command::Resume).await;
    let mut worker = Worker::connect(&world, "w").await;
    worker.work_on(3).await;
    world.until_state(run, RunState::Completed).await;
    assert_eq!(digest(&world, run).await, digest(&world, undisturbed).await);
}

#[tokio::test]
async fn a_store_over_its_budget_is_cleaned_by_itself_but_for_what_it_does_not_know() {
    let world = World::new(Rules::default()).await;
    let blobs = &world.study.blobs;
    let unknown = Key::checkpoint_model(RunId(uuid::Uuid::from_u128(7)), 0, &Digest::of(b"stray"));
    let shard = Key::content(Kind::Shard, &Digest::of(b"stray"));
    for key in [&unknown, &shard] {
        let stray = Bytes::from(vec![0; 100_000]);
        blobs.put(key, stray).await.unwrap();
    }
    make_room(&world.study, None).await.unwrap();
    assert!(
        blobs.head(&shard).await.unwrap().is_some(),
        "there is no limit"
    );
    make_room(&world.study, Some(150_000)).await.unwrap();
    assert!(blobs.head(&shard).await.unwrap().is_none());
    assert!(blobs.head(&unknown).await.unwrap().is_some());
    // All that is left is needed, as far as it can tell.
    let full = make_room(&world.study, Some(50_000)).await.unwrap_err();
    let NoRoom::Full { used, budget } = full else {
        panic!("{full}");
    };
    assert!(used > 100_000, "{used}");
    assert_eq!(budget, 50_000);
}

#[tokio::test]
async fn a_commit_cleans_a_store_that_is_over_its_budget() {
    let world = World::new(Rules {
        budget: Some(50_000),
        ..Rules::default()
    })
    .await;
    // Submitted while there is room.
    let run = world.submit(job(1, 1)).await;
    let world = world.restart(&[]).await;
    let shard = Key::content(Kind::Shard, &Digest::of(b"stray"));
    let stray = Bytes::from(vec![0; 100_000]);
    world.study.blobs.put(&shard, stray).await.unwrap();
    let mut worker = Worker::connect(&world, "w").await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    assert!(world.study.blobs.head(&shard).await.unwrap().is_none());
    world
        .until_shown(&["pangea_artifacts_budget_bytes 50000"])
        .await;
}

#[tokio::test]
async fn a_full_store_takes_no_new_run_and_no_data_set_and_says_what_to_do() {
    let world = World::new(Rules {
        budget: Some(1_000),
        ..Rules::default()
    })
    .await;
    let mut jobs = JobsClient::new(world.channel.clone());
    let refused = jobs.submit(SubmitRequest {
        idempotency_key: "k".to_owned(),
        job: Some((&job(1, 1)).into()),
    });
    let refused = refused.await.unwrap_err();
    let options = ImportOptions {
        name: "e".to_owned(),
        ..ImportOptions::default()
    };
    let first = ImportDatasetRequest {
        part: Some(import_dataset_request::Part::Options(options)),
    };
    let mut datasets = DatasetsClient::new(world.channel.clone());
    let import = datasets.import(tokio_stream::once(first)).await;
    for status in [refused, import.unwrap_err()] {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(fault::reason(&status).as_deref(), Some("OVER_BUDGET"));
        let budget = fault::metadata(&status, "budget_bytes");
        assert_eq!(budget.as_deref(), Some("1000"));
        let told = status.message();
        assert!(told.contains("more than its budget of 1000"), "{told}");
        assert!(told.contains("raise artifacts.budget_gib"), "{told}");
    }
    world
        .until_shown(&["pangea_over_budget_refusals_total 2"])
        .await;
    assert!(world.study.store.runs(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_that_was_submitted_before_is_found_in_a_full_store() {
    let world = World::new(Rules::default()).await;
    let first = submit(&world.study, job(1, 1), "k".to_owned()).await;
    let (first, _) = first.unwrap();
    let world = world.restart_within(Some(1_000)).await;
    let again = submit(&world.study, job(1, 1), "k".to_owned()).await;
    let (again, existed) = again.unwrap();
    assert_eq!((again.run, existed), (first.run, true));
    let other = submit(&world.study, job(1, 1), "l".to_owned()).await;
    let error = other.unwrap_err();
    assert!(matches!(error, SubmitError::NoRoom(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_begin_while_garbage_is_removed_find_their_shards() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let training = async {
        let mut digests = Vec::new();
        for _run in 0..5 {
            let run = world.submit(job(3, 1)).await;
            let leased = worker.lease().await;
            let partition = world.study.store.partitions().await.unwrap().remove(0);
            let shards = partition.shards.into_iter().map(|shard| shard.blob.key);
            let shards: Vec<_> = shards.collect();
            assert_eq!(there_are(&world, &shards).await, 3);
            let done = worker.train(&leased).await;
            worker.report(done).await;
            worker.acknowledge(&leased).await;
            worker.work_on(2).await;
            world.until_state(run, RunState::Completed).await;
            digests.push(digest(&world, run).await);
        }
        digests
    };
    let collecting = async {
        loop {
            collect(&world, true, Duration::ZERO).await;
        }
    };
    let digests = tokio::select! {
        digests = training => digests,
        () = collecting => unreachable!(),
    };
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}
