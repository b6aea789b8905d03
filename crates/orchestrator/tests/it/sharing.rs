//! Many runs, few workers, fewer turns.

use std::collections::BTreeSet;

use federation::run::{Command, RunState};
use proto::v1::orchestrator_message::Kind as Told;

use crate::behind::Refused;
use crate::worker::Worker;
use crate::world::{Rules, World, job};

#[tokio::test]
async fn two_runs_share_one_worker() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let runs = [world.submit(job(2, 2)).await, world.submit(job(3, 2)).await];
    let leased = worker.work_on(4 + 6).await;
    for run in runs {
        world.until_state(run, RunState::Completed).await;
    }
    let worked_on: BTreeSet<_> = leased.iter().map(|leased| leased.id.run).collect();
    assert_eq!(worked_on, BTreeSet::from(runs));
}

#[tokio::test]
async fn two_workers_share_one_run() {
    let world = World::new(Rules::default()).await;
    let mut workers = [
        Worker::connect(&world, "v").await,
        Worker::connect(&world, "w").await,
    ];
    let run = world.submit(job(2, 1)).await;
    for worker in &mut workers {
        worker.work_on(1).await;
    }
    world.until_state(run, RunState::Completed).await;
    let receipts = world.receipts(run, 1).await;
    let names: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt.worker.0.as_str())
        .collect();
    assert_eq!(names, ["v", "w"]);
}

#[tokio::test]
async fn a_run_without_a_turn_waits_as_pending_until_another_one_ends() {
    let world = World::new(Rules {
        concurrent: 1,
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let first = world.submit(job(1, 2)).await;
    let leased = worker.lease().await;
    let second = world.submit(job(1, 1)).await;
    let done = worker.train(&leased).await;
    assert!(worker.report(done).await.accepted);
    let next = worker.lease().await;
    assert_eq!((next.id.run, next.id.round), (first, 2));
    assert_eq!(world.row(second).await.state, RunState::Pending);
    assert!(worker.lease_now().await.is_none());

    let done = worker.train(&next).await;
    assert!(worker.report(done).await.accepted);
    world.until_state(first, RunState::Completed).await;
    worker.work_on(1).await;
    world.until_state(second, RunState::Completed).await;
}

#[tokio::test]
async fn a_paused_run_gives_its_turn_away_and_a_cancelled_one_calls_its_tasks_back() {
    let world = World::new(Rules {
        concurrent: 1,
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let first = world.submit(job(1, 1)).await;
    worker.lease().await;
    let second = world.submit(job(1, 1)).await;
    world.command(first, Command::Pause).await;
    let leased = worker.lease().await;
    assert_eq!(leased.id.run, second);

    world.command(second, Command::Cancel).await;
    let cancelled = loop {
        if let Told::Cancel(cancel) = worker.told().await {
            break cancel.run;
        }
    };
    assert_eq!(cancelled, second.to_string());
    assert_eq!(world.row(first).await.state, RunState::Paused);
}

#[tokio::test]
async fn a_task_that_nobody_wants_and_that_stays_keeps_no_other_from_a_worker() {
    let world = World::new(Rules {
        tasks: Refused::times(1, "acknowledge"),
        ..Rules::default()
    })
    .await;
    let ended = world.submit(job(1, 1)).await;
    world
        .until_shown(&["training_queue_depth{state=\"visible\"} 1"])
        .await;
    world.command(ended, Command::Cancel).await;
    world.until_state(ended, RunState::Cancelled).await;
    let run = world.submit(job(1, 1)).await;
    let mut worker = Worker::connect(&world, "w").await;
    assert!(worker.lease_now().await.is_none(), "it is the first one's");
    assert_eq!(worker.lease().await.id.run, run);
}
