//! The numbers of a run that really happens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clock::{Clock, ManualClock, SystemClock};
use federation::run::{Command, RunState};
use federation::{RunId, Timestamp};
use proto::body;
use proto::v1::orchestrator_message::Kind as Told;
use proto::v1::worker_message::{Heartbeat, Kind as Said, Pong};
use tokio::time::timeout;

use crate::worker::{Leased, Worker};
use crate::world::{PATIENCE, Rules, World, job, with_quorum};

const HOUR: Duration = Duration::from_secs(3600);

const MINUTE: Duration = Duration::from_secs(60);

/// A world whose time passes when it is told to.
async fn on_manual_time() -> (Arc<ManualClock>, World) {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let world = World::new(Rules {
        clock: Arc::clone(&clock) as _,
        ..Rules::default()
    });
    (clock, world.await)
}

/// The number on the only line that begins like this.
fn number(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    let line = line.unwrap_or_else(|| panic!("{series} is missing in\n{text}"));
    line.trim().parse().unwrap()
}

/// How far an update goes from the parameters that it started from.
fn norm(world: &World, leased: &Leased) -> f64 {
    let bytes = std::fs::read(world.study.blobs.path_of(&leased.place())).unwrap();
    let numbers = body::as_numbers::<f32>(&bytes);
    let squares = numbers.iter().map(|number| f64::from(*number).powi(2));
    squares.sum::<f64>().sqrt()
}

#[tokio::test]
async fn a_run_moves_the_numbers_that_tell_of_it() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 1)).await;
    let only = worker.lease().await;
    worker.fail(&only, "diverged", false).await;
    world.until_state(run, RunState::Failed).await;

    let run = world.submit(with_quorum(0.6, HOUR, job(3, 1))).await;
    let first = worker.lease().await;
    worker.fail(&first, "diverged", false).await;
    let second = worker.lease().await;
    let done = worker.train(&second).await;
    let mut again = done.clone();
    again.lease_epoch += 1;
    assert!(worker.report(done).await.accepted);
    assert_eq!(worker.report(again).await.reason, "duplicate");
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    let cancelled = world.submit(job(1, 1)).await;
    world.command(cancelled, Command::Cancel).await;
    world
        .until_shown(&[
            "collab_active_sessions 0",
            "collab_sessions_total{status=\"failed\"} 1",
            "collab_sessions_total{status=\"completed\"} 1",
            "collab_sessions_total{status=\"cancelled\"} 1",
            "collab_session_duration_seconds_count 3",
            "collab_thoughts_total{agent=\"w\",category=\"gradient\"} 3",
            "collab_thoughts_total{agent=\"w\",category=\"control\"} 2",
            "collab_actions_total{agent=\"w\",decision=\"proposed\"} 3",
            "collab_actions_total{agent=\"w\",decision=\"approved\"} 2",
            "collab_actions_total{agent=\"w\",decision=\"rejected\"} 1",
            "pangea_updates_refused_total{reason=\"duplicate\"} 1",
            "pangea_tasks_failed_total 2",
            "gradient_aggregations_total{strategy=\"fedavg\"} 1",
            "federated_aggregation_duration_seconds_count{strategy=\"fedavg\"} 1",
            "federated_round_duration_seconds_count{phase=\"training\"} 1",
            "federated_round_duration_seconds_count{phase=\"aggregating\"} 1",
            "federated_round_duration_seconds_count{phase=\"evaluating\"} 1",
            "federated_round_duration_seconds_count{phase=\"committing\"} 1",
            "federated_round_duration_seconds_count{phase=\"total\"} 1",
            "federated_straggler_ratio_count 1",
            "federated_straggler_ratio_sum 0.3333333333333333",
            "checkpoint_duration_seconds_count 1",
            "db_query_total{model=\"run\",operation=\"insert\"} 3",
            "db_query_total{model=\"receipt\",operation=\"insert\"} 3",
            "db_query_duration_seconds_count{model=\"run\",operation=\"insert\"} 3",
        ])
        .await;
}

/// Time with a defect: whoever waits for it breaks.
#[derive(Debug, Default)]
struct Broken(SystemClock);

#[async_trait]
impl Clock for Broken {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, _span: Duration) {
        panic!("a defect, as this test wants it");
    }
}

#[tokio::test]
async fn a_run_that_a_defect_ends_is_counted_like_any_other() {
    let world = World::new(Rules {
        clock: Arc::new(Broken::default()),
        ..Rules::default()
    })
    .await;
    let run = world.submit(job(1, 1)).await;
    let row = world.until_state(run, RunState::Failed).await;
    assert!(row.reason.contains("broke"), "{}", row.reason);
    world
        .until_shown(&[
            "collab_active_sessions 0",
            "collab_sessions_total{status=\"failed\"} 1",
            "collab_session_duration_seconds_count 1",
        ])
        .await;
}

#[tokio::test]
async fn what_is_shown_of_a_run_is_shown_while_it_is_in_work_and_for_the_scrapes_after_that() {
    let (clock, world) = on_manual_time().await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 2)).await;
    let series = |name: &str, run: RunId| format!("{name}{{run=\"{run}\"}}");
    let shown = |round: u32| format!("{} {round}", series("federated_round_current", run));
    let first = worker.work_on(2).await;
    world.until_shown(&[&shown(2)]).await;
    world.until_committed(run, 1).await;
    let row = world.row(run).await;
    let text = world.numbers();
    let near = |name, expected: f64| {
        let shown = number(&text, &series(name, run));
        assert!(
            (shown - expected).abs() < 1e-9,
            "{name}: {shown}, {expected}"
        );
    };
    near("federated_model_accuracy", row.accuracy.unwrap());
    near("federated_model_loss", row.loss.unwrap());
    let norms = first.iter().map(|leased| norm(&world, leased));
    near("federation_parameter_divergence", norms.fold(0.0, f64::max));

    let world = world.restart(&[]).await;
    let mut worker = Worker::connect(&world, "w").await;
    world.until_shown(&[&shown(2)]).await;
    worker.work_on(2).await;
    world.until_state(run, RunState::Completed).await;
    world.until_shown(&["collab_active_sessions 0"]).await;
    let row = world.row(run).await;
    clock.advance(MINUTE * 5 - Duration::from_millis(1));
    let text = world.numbers();
    for (name, last) in [
        ("federated_round_current", 2.0),
        ("federated_model_accuracy", row.accuracy.unwrap()),
        ("federated_model_loss", row.loss.unwrap()),
    ] {
        let shown = number(&text, &series(name, run));
        assert!((shown - last).abs() < 1e-9, "{name}: {shown}, {last}");
    }
    assert!(number(&text, &series("federation_parameter_divergence", run)) > 0.0);
    clock.advance(Duration::from_millis(1));
    let text = world.numbers();
    assert!(!text.contains(&format!("run=\"{run}\"")), "{text}");
}

async fn heartbeat(worker: &Worker) {
    let heartbeat = Heartbeat { tasks: Vec::new() };
    worker.say(Said::Heartbeat(heartbeat)).await;
}

/// What the orchestrator sends when it hears a heartbeat and no ping is under way.
async fn ping(worker: &mut Worker) -> u64 {
    heartbeat(worker).await;
    let Told::Ping(ping) = worker.told().await else {
        panic!("a heartbeat is answered with a ping");
    };
    ping.number
}

fn pong(number: u64) -> Said {
    Said::Pong(Pong { number })
}

#[tokio::test]
async fn workers_are_counted_and_measured() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let first = ping(&mut worker).await;
    // What answers no ping measures nothing, nor does an answer that comes again.
    for number in [first + 1, first, first] {
        worker.say(pong(number)).await;
    }
    world
        .until_shown(&[
            "active_workers 1",
            "federated_participants_active 1",
            "federation_active_agents 1",
            "federated_participants_total 1",
            "federation_total_agents 1",
            "federation_communication_latency_seconds_count 1",
        ])
        .await;
    drop(worker);
    world
        .until_shown(&[
            "active_workers 0",
            "federation_active_agents 0",
            "federation_total_agents 1",
        ])
        .await;
}

#[tokio::test]
async fn a_way_that_takes_longer_than_a_heartbeat_is_measured_all_the_same() {
    let (clock, world) = on_manual_time().await;
    let mut worker = Worker::connect(&world, "w").await;
    let first = ping(&mut worker).await;
    clock.advance(MINUTE - Duration::from_millis(1));
    heartbeat(&worker).await;
    worker.say(pong(first)).await;
    // The heartbeat in between was not answered with a ping.
    let second = ping(&mut worker).await;
    worker.say(pong(second)).await;
    let measured = |count: u32| format!("federation_communication_latency_seconds_count {count}");
    world.until_shown(&[&measured(2)]).await;

    let given_up = ping(&mut worker).await;
    clock.advance(MINUTE);
    let last = ping(&mut worker).await;
    for number in [given_up, last] {
        worker.say(pong(number)).await;
    }
    ping(&mut worker).await;
    world.until_shown(&[&measured(3)]).await;
}

#[tokio::test]
async fn the_names_of_workers_that_are_gone_are_there_for_others() {
    let (clock, world) = on_manual_time().await;
    let mut sessions = world.study.fleet.sessions();
    for number in 0..300 {
        drop(Worker::connect(&world, &format!("w{number}")).await);
        let gone = async {
            while !world.study.fleet.is_empty() {
                sessions.rung().await;
            }
        };
        timeout(PATIENCE, gone).await.unwrap();
        clock.advance(HOUR / 4);
    }
    let _last = Worker::connect(&world, "w299").await;
    let text = world.numbers();
    let shown = |worker: &str| {
        let series = "collab_thoughts_total{agent=";
        text.contains(&format!("{series}\"{worker}\",category=\"gradient\"}} 0"))
    };
    assert!(shown("w299"), "{text}");
    assert!(shown("w297") && !shown("w295"), "{text}");
    assert!(!shown("__other__"), "{text}");
}

#[tokio::test]
async fn the_queue_the_pool_and_the_store_are_counted() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(3, 1)).await;
    let leased = worker.lease().await;
    world
        .until_shown(&[
            "training_queue_depth{state=\"visible\"} 2",
            "training_queue_depth{state=\"leased\"} 1",
            "training_queue_wait_seconds_count 1",
            "training_leases_total{outcome=\"granted\"} 1",
        ])
        .await;
    let done = worker.train(&leased).await;
    worker.report(done).await;
    worker.acknowledge(&leased).await;
    worker.work_on(2).await;
    world.until_state(run, RunState::Completed).await;
    world
        .until_shown(&[
            "training_queue_depth{state=\"leased\"} 0",
            "training_queue_oldest_seconds 0",
            "training_leases_total{outcome=\"acknowledged\"} 3",
            "db_pool_active_connections{database=\"runs\"} 0",
            "database_connections_active{database=\"runs\"} 0",
            "db_pool_waiting_requests{database=\"runs\"} 0",
            "artifact_store_requests_total{operation=\"adopt\",store=\"local\"} 2",
        ])
        .await;
    let text = world.numbers();
    let sent = number(
        &text,
        "federated_bytes_sent_total{direction=\"to_workers\"}",
    );
    assert!(sent > 0.0, "the tasks at least");
    let idle = number(&text, "db_pool_idle_connections{database=\"runs\"}");
    assert!(idle >= 1.0, "{idle}");
}

#[tokio::test]
async fn a_statement_that_fails_is_counted_by_what_was_wrong() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    world.submit(job(1, 1)).await;
    let leased = worker.lease().await;
    let done = worker.train(&leased).await;
    let away = "CREATE TRIGGER away BEFORE INSERT ON receipts
                BEGIN SELECT RAISE(FAIL, 'the disk is full'); END";
    world.sql(&[away]).await;
    worker.say(Said::Done(done)).await;
    world
        .until_shown(&[
            "db_errors_total{error_type=\"constraint\",operation=\"insert\"} 1",
            "pangea_stalls_total{waiting_for=\"run store\"} 1",
        ])
        .await;
}
