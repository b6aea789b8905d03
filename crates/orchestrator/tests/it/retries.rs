//! Work that is done again, and work that is given up.

use std::future::ready;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use federation::event::Event;
use federation::round::Phase;
use federation::run::RunState;

use orchestrator::poison::bury;
use seams::{Call, Listener, Passage, Seams, Waiting};
use task_queue::{MAX_DELIVERIES, TaskQueue};

use crate::worker::Worker;
use proto::v1::worker_message::Kind as Said;

use crate::world::{Rules, World, job, with_quorum};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_failed_task_is_done_again_in_a_new_attempt() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 1)).await;
    let first = worker.lease().await;
    worker.fail(&first, "no disk", true).await;
    let second = worker.work_on(1).await.remove(0);
    assert_eq!((first.id.attempt, second.id.attempt), (1, 2));
    assert_eq!(second.id.client, first.id.client);
    assert_eq!(second.task.seed, first.task.seed, "for the same bytes");
    assert_ne!(second.place(), first.place());
    world.until_state(run, RunState::Completed).await;
    let told = world
        .events(run)
        .await
        .into_iter()
        .find_map(|event| match event {
            Event::TaskFailed { message, .. } => Some(message),
            _ => None,
        });
    assert_eq!(told.as_deref(), Some("no disk"));
}

#[tokio::test]
async fn a_task_that_nobody_finishes_is_a_failure_of_its_round_and_done_again() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(job(1, 1)).await;
    let queue = &world.study.queue;
    for _ in 0..MAX_DELIVERIES.get() {
        let leased = queue
            .receive(&[], NonZeroUsize::MIN, HOUR, HOUR)
            .await
            .unwrap();
        let given_back = queue.give_back(&leased[0].handle, Duration::ZERO).await;
        given_back.unwrap();
    }
    let burying = bury(&world.study, &world.reconciler, &world.closing);
    let mut worker = Worker::connect(&world, "w").await;
    let done = tokio::select! {
        done = worker.work_on(1) => done,
        () = burying => unreachable!("nobody asked it to end"),
    };
    assert_eq!(done[0].id.attempt, 2);
    world.until_state(run, RunState::Completed).await;
    let events = world.events(run).await;
    let failures: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::TaskFailed { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let expected = "delivered as often as the queue allows";
    assert!(failures[0].starts_with(expected), "{failures:?}");
    assert_eq!(queue.depth().await.unwrap().dead, 0);
}

#[tokio::test]
async fn a_client_that_cannot_succeed_is_given_up_and_a_quorum_completes_the_round() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(with_quorum(0.6, HOUR, job(3, 1))).await;
    let first = worker.lease().await;
    worker.fail(&first, "diverged", false).await;
    worker.work_on(2).await;
    world.until_state(run, RunState::Completed).await;
    let receipts = world.receipts(run, 1).await;
    let clients: Vec<_> = receipts.iter().map(|receipt| receipt.client.0).collect();
    assert_eq!(clients, [1, 2]);
}

#[tokio::test]
async fn a_quorum_out_of_reach_fails_the_run_with_the_last_failure() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    let first = worker.lease().await;
    worker.fail(&first, "no disk", false).await;
    let row = world.until_state(run, RunState::Failed).await;
    assert!(
        row.reason.starts_with("round 1 was abandoned"),
        "{}",
        row.reason
    );
    assert!(row.reason.ends_with("no disk"), "{}", row.reason);
    let rounds = world.study.store.rounds(run, 0, 10).await.unwrap();
    assert_eq!(rounds[0].phase, Phase::Abandoned);
}

#[tokio::test]
async fn at_its_deadline_a_round_closes_with_the_quorum_it_has() {
    let interval = Duration::from_millis(20);
    let world = World::new(Rules {
        interval,
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let second = Duration::from_secs(1);
    let run = world.submit(with_quorum(0.5, second, job(2, 1))).await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    assert_eq!(world.receipts(run, 1).await.len(), 1);

    let run = world.submit(with_quorum(1.0, second, job(2, 1))).await;
    let row = world.until_state(run, RunState::Failed).await;
    let expected = "0 of the 2 updates needed were there at the deadline";
    assert!(row.reason.ends_with(expected), "{}", row.reason);
}

/// Refuses the first commit by which a round closes, and counts the files that are adopted.
#[derive(Debug, Default)]
struct Closing {
    refused: AtomicBool,
    adopted: AtomicU32,
}

impl Listener for Closing {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        if call.operation == "adopt" {
            self.adopted.fetch_add(1, Ordering::Relaxed);
        }
        let closes =
            call.operation == "commit" && format!("{:?}", call.arguments).contains("aggregating");
        let refuses = closes && !self.refused.swap(true, Ordering::Relaxed);
        refuses.then(|| -> Waiting { Box::pin(ready(Passage::Refused)) })
    }
}

#[tokio::test]
async fn a_round_is_folded_when_it_is_kept_that_it_has_closed() {
    let closing = Arc::new(Closing::default());
    let seams = || Seams::heard_by(Arc::clone(&closing) as Arc<dyn Listener>);
    let world = World::new(Rules {
        interval: Duration::from_millis(20),
        artifacts: seams(),
        store: seams(),
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let job = with_quorum(0.5, Duration::from_secs(1), job(2, 1));
    let run = world.submit(job).await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    assert!(closing.refused.load(Ordering::Relaxed));
    let adopted = closing.adopted.load(Ordering::Relaxed);
    assert_eq!(adopted, 2, "the initial model, and that of the round once");
}

#[tokio::test]
async fn an_accepted_update_that_rots_before_the_fold_is_done_again() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    let first = worker.work_on(1).await.remove(0);
    let path = world.study.blobs.path_of(&first.place());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    worker.work_on(1).await;
    let again = worker.work_on(1).await.remove(0);
    assert_eq!((again.id.client, again.id.attempt), (first.id.client, 2));
    world.until_state(run, RunState::Completed).await;
    let receipts = world.receipts(run, 1).await;
    let of_first: Vec<_> = receipts
        .iter()
        .filter(|receipt| receipt.client == first.id.client)
        .map(|receipt| (receipt.accepted, receipt.reason.as_str()))
        .collect();
    assert_eq!(of_first, [(false, "damaged"), (true, "")]);
    let refused = |event: &Event| matches!(event, Event::UpdateRefused { .. });
    assert!(world.events(run).await.iter().any(refused));
    world
        .until_shown(&[
            "pangea_updates_refused_total{reason=\"damaged\"} 1",
            "federated_round_duration_seconds_count{phase=\"training\"} 1",
            "federated_round_duration_seconds_count{phase=\"total\"} 1",
        ])
        .await;
}

#[tokio::test]
async fn a_worker_whose_stream_breaks_is_lost_and_the_run_waits_for_another() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(job(1, 1)).await;
    world.until_state(run, RunState::WaitingForWorkers).await;
    let mut worker = Worker::connect(&world, "w").await;
    let leased = worker.lease().await;
    world.until_state(run, RunState::Running).await;
    drop(worker);
    world.until_state(run, RunState::WaitingForWorkers).await;
    let workers = world.study.fleet.list(world.study.now());
    assert_eq!(workers[0].state(), proto::v1::WorkerState::Lost);
    assert!(world.study.fleet.is_empty());

    let mut worker = Worker::connect(&world, "w").await;
    let done = worker.train(&leased).await;
    assert!(worker.report(done).await.accepted, "its lease still holds");
    world.until_state(run, RunState::Completed).await;
}

/// Receipts and the end of a round are what the orchestrator must not lose; so it waits.
#[tokio::test]
async fn a_report_waits_for_a_store_that_is_away() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 1)).await;
    let leased = worker.lease().await;
    let done = worker.train(&leased).await;
    world
        .sql(&["CREATE TRIGGER away BEFORE INSERT ON receipts
             BEGIN SELECT RAISE(FAIL, 'the disk is full'); END"])
        .await;
    worker.say(Said::Done(done.clone())).await;
    world
        .until_event(run, "stalled", |event| {
            matches!(event, Event::Stalled { message, .. } if message.contains("the disk is full"))
        })
        .await;
    world.sql(&["DROP TRIGGER away"]).await;
    // The session has ended; the worker opens another one and reports again.
    let mut worker = Worker::connect(&world, "w").await;
    assert!(worker.report(done).await.accepted);
    world.until_state(run, RunState::Completed).await;
    assert_eq!(world.receipts(run, 1).await.len(), 1);
}

#[tokio::test]
async fn a_failure_waits_for_a_store_that_is_away() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 1)).await;
    let leased = worker.lease().await;
    world
        .sql(&["CREATE TRIGGER away BEFORE INSERT ON attempts
             BEGIN SELECT RAISE(FAIL, 'the disk is full'); END"])
        .await;
    worker.say(leased.failed("no disk", true)).await;
    let stalled = |event: &Event| matches!(event, Event::Stalled { .. });
    world.until_event(run, "stalled", stalled).await;
    world.sql(&["DROP TRIGGER away"]).await;
    let mut worker = Worker::connect(&world, "w").await;
    worker.fail(&leased, "no disk", true).await;
    assert_eq!(worker.work_on(1).await[0].id.attempt, 2);
    world.until_state(run, RunState::Completed).await;
}

#[tokio::test]
async fn a_round_that_came_to_nothing_is_not_folded_when_the_store_is_away() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    let first = worker.lease().await;
    worker.work_on(1).await;
    world
        .sql(&[
            "CREATE TRIGGER away BEFORE UPDATE ON rounds WHEN NEW.phase = 'abandoned'
             BEGIN SELECT RAISE(FAIL, 'the disk is full'); END",
        ])
        .await;
    worker.fail(&first, "no disk", false).await;
    let stalled = |event: &Event| matches!(event, Event::Stalled { .. });
    world.until_event(run, "stalled", stalled).await;
    world.sql(&["DROP TRIGGER away"]).await;
    let row = world.until_state(run, RunState::Failed).await;
    assert!(row.reason.ends_with("no disk"), "{}", row.reason);
    let events = world.events(run).await;
    let abandoned = |event: &&Event| matches!(event, Event::RoundAbandoned { .. });
    assert_eq!(events.iter().filter(abandoned).count(), 1);
}
