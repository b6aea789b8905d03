//! What a new process makes of what the last one left.

use std::time::Duration;

use artifacts::{BlobStore, Key};
use federation::event::Event;
use federation::run::RunState;

use crate::commits::committed;
use crate::worker::Worker;
use crate::world::{Rules, World, job, with_quorum};

#[tokio::test]
async fn an_open_round_goes_on_after_a_restart_with_what_it_had() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(3, 1)).await;
    worker.work_on(1).await;
    let second = worker.lease().await;
    worker.fail(&second, "no disk", true).await;
    let failed = |event: &Event| matches!(event, Event::TaskFailed { .. });
    world
        .until_event(run, "the failure is stored", failed)
        .await;

    let world = world.restart(&[]).await;
    let mut worker = Worker::connect(&world, "w").await;
    let ids = worker.work_on(2).await;
    let ids: Vec<_> = ids
        .iter()
        .map(|leased| (leased.id.client.0, leased.id.attempt))
        .collect();
    assert_eq!(
        ids,
        [(1, 2), (2, 1)],
        "whoever is missing, in the attempt it was in"
    );
    world.until_state(run, RunState::Completed).await;
    assert_eq!(world.receipts(run, 1).await.len(), 3);
}

#[tokio::test]
async fn a_crash_in_the_middle_does_not_change_a_byte_of_the_model() {
    let outcome = async |crash: bool| {
        let mut world = World::new(Rules::default()).await;
        let mut worker = Worker::connect(&world, "w").await;
        let run = world.submit(job(3, 2)).await;
        worker.work_on(4).await;
        if crash {
            // Otherwise the second round would be trained anew.
            world.until_committed(run, 1).await;
            world = world.restart(&[]).await;
            worker = Worker::connect(&world, "v").await;
        }
        worker.work_on(2).await;
        world.until_state(run, RunState::Completed).await;
        let rounds = world.study.store.rounds(run, 0, 10).await.unwrap();
        let digest =
            |row: &orchestrator::store::RoundRow| row.outcome.as_ref().unwrap().model_digest;
        rounds.iter().map(digest).collect::<Vec<_>>()
    };
    assert_eq!(outcome(true).await, outcome(false).await);
}

#[tokio::test]
async fn a_round_whose_manifest_stands_is_committed_though_its_row_does_not_say_so() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 2)).await;
    worker.work_on(1).await;
    let before = world.until("the first round", async || {
        let open = world.study.store.unfinished_round(run).await.unwrap()?;
        let rounds = world.study.store.rounds(run, 0, 10).await.unwrap();
        rounds[0].outcome.clone().filter(|_| open.number == 2)
    });
    let before = before.await;

    let world = world
        .restart(&[
            "UPDATE runs SET rounds_committed = 0, accuracy = NULL, loss = NULL",
            "UPDATE rounds SET phase = 'aggregating', outcome = NULL, closed_at = NULL
             WHERE round = 1",
            "DELETE FROM rounds WHERE round = 2",
        ])
        .await;
    let mut worker = Worker::connect(&world, "w").await;
    let next = worker.work_on(1).await.remove(0);
    assert_eq!(next.id.round, 2, "nothing is trained again");
    let row = world.until_state(run, RunState::Completed).await;
    assert_eq!(row.rounds_committed, 2);
    let rounds = world.study.store.rounds(run, 0, 10).await.unwrap();
    assert_eq!(rounds[0].outcome, Some(before));
}

#[tokio::test]
async fn a_manifest_of_other_updates_than_count_is_made_again() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world
        .submit(with_quorum(0.5, Duration::from_secs(3600), job(2, 2)))
        .await;
    worker.work_on(2).await;
    world.until_committed(run, 1).await;
    let clients = async |world: &World| {
        let manifest = committed(&world.study, run, 1).await;
        let clients = manifest.updates.iter().map(|update| update.client.0);
        clients.collect::<Vec<_>>()
    };
    assert_eq!(clients(&world).await, [0, 1]);

    let world = world
        .restart(&[
            "UPDATE runs SET rounds_committed = 0, accuracy = NULL, loss = NULL",
            "UPDATE rounds SET phase = 'aggregating', outcome = NULL, closed_at = NULL
             WHERE round = 1",
            "DELETE FROM rounds WHERE round = 2",
            "UPDATE receipts SET accepted = 0 WHERE client = 1",
        ])
        .await;
    world.until_committed(run, 1).await;
    assert_eq!(clients(&world).await, [0]);
    let rounds = world.study.store.rounds(run, 0, 10).await.unwrap();
    let outcome = rounds[0].outcome.as_ref().unwrap();
    assert_eq!((outcome.accepted, outcome.refused), (1, 1));
}

#[tokio::test]
async fn a_model_that_rotted_does_not_become_a_base() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 2)).await;
    worker.work_on(1).await;
    world.until_committed(run, 1).await;
    let path = world.model_file(run, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let world = world.restart(&[]).await;
    let row = world.until_state(run, RunState::Failed).await;
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(row.reason.contains(name), "{}", row.reason);
}

#[tokio::test]
async fn a_run_that_does_not_read_fails_alone() {
    let world = World::new(Rules::default()).await;
    let bad = world.submit(job(1, 1)).await;
    world.until_state(bad, RunState::WaitingForWorkers).await;
    let world = world.restart(&["UPDATE runs SET job_digest = 'odd'"]).await;
    let good = world.submit(job(1, 1)).await;
    let mut worker = Worker::connect(&world, "w").await;
    worker.work_on(1).await;
    world.until_state(good, RunState::Completed).await;
    let ended = |event: &Event| {
        matches!(event, Event::RunStateChanged { state: RunState::Failed, reason }
            if reason.contains("job_digest"))
    };
    world.until_event(bad, "failed", ended).await;
}

#[tokio::test]
async fn updates_go_when_their_round_is_old_enough() {
    let world = World::new(Rules {
        keep_rounds: 1,
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 3)).await;
    worker.work_on(6).await;
    world.until_state(run, RunState::Completed).await;
    let left = world
        .study
        .blobs
        .list(&Key::rounds_prefix(run))
        .await
        .unwrap();
    let rounds: Vec<_> = left.iter().filter_map(Key::round).collect();
    assert_eq!(rounds, [3, 3]);
}
