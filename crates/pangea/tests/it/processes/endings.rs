//! Processes that are asked to end, with calls and tasks in hand.

use std::time::Duration;

use telemetry::export::sink::{Answer, Sink};
use tokio::time::{Instant, timeout};

use super::fleet::{Fleet, Shape};
use super::linked::{Habits, Linked};
use super::network::{WIDE, wide_alone};
use super::service::{LOOK, PATIENCE};
use super::training::{ROUNDS, Training};

/// Longer than any of these tests takes: who waits for a lease of the dead fails.
const LONG_LEASE: (&str, Duration) = ("60s", Duration::from_secs(60));

#[tokio::test(flavor = "multi_thread")]
async fn every_process_ends_in_time_with_all_streams_open() {
    let mut fleet = Fleet::start(Shape::default()).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    training.until_committed(1).await;

    fleet.orchestrator.ask_to_end();
    let (status, took) = fleet.orchestrator.ended().await;
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(3), "{took:?}");

    fleet.compute.ask_to_end();
    let (status, took) = fleet.compute.ended().await;
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(3), "{took:?}");

    for worker in &mut fleet.workers {
        worker.ask_to_end();
        let (status, took) = worker.ended().await;
        assert!(status.success(), "{status}");
        // Its patience with a task in hand, and what it takes to see that nobody is there.
        assert!(took < Duration::from_secs(13), "{took:?}");
    }
}

/// Bytes a second that a task takes half a minute with.
const CRAWL: u32 = 30_000;

/// Bytes that pass between a worker and compute-core for a task alone.
const OF_A_TASK: u64 = 20_000;

/// A house whose first worker is in the middle of a task: its line to compute-core crawls.
pub(super) async fn in_a_task(habits: Habits) -> (Linked, Training) {
    let net = Linked::start(habits).await;
    net.until_complete().await;
    let line = &net.lines[0].compute;
    line.throttle(CRAWL);
    let training = Training::of(net.client(), WIDE).await;
    tokio::select! {
        () = line.until_up(OF_A_TASK) => {}
        () = line.until_down(OF_A_TASK) => {}
    }
    (net, training)
}

/// A worker that drains for this long at the most.
fn draining(drain: &'static str) -> Habits {
    Habits {
        lease_ttl: LONG_LEASE.0,
        drain,
        ..Habits::default()
    }
}

/// Follows the run to its good end; says how often tasks were delivered at most.
pub(super) async fn deliveries(mut training: Training) -> u32 {
    let began = Instant::now();
    assert_eq!(training.finish().await, *wide_alone().await);
    assert!(began.elapsed() < LONG_LEASE.1, "a lease was waited for");
    let rounds = training.rounds().await;
    let updates = rounds.iter().flat_map(|round| &round.updates);
    updates
        .map(|update| update.lease_epoch)
        .max()
        .expect("updates")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_finishes_its_task() {
    let (mut net, training) = in_a_task(draining("10s")).await;
    net.workers[0].ask_to_end();
    let told = async {
        while net.workers[0].get("/readyz").await.0.contains(" 200 ") {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, told).await.expect("it says that it ends");
    net.lines[0].compute.throttle(u32::MAX);
    let (status, _) = net.workers[0].ended().await;
    assert!(status.success(), "{status}");
    assert_eq!(deliveries(training).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_time_to_finish_gives_its_task_back() {
    let (mut net, training) = in_a_task(draining("0s")).await;
    net.workers[0].ask_to_end();
    let (status, _) = net.workers[0].ended().await;
    assert!(status.success(), "{status}");
    assert_eq!(deliveries(training).await, 2);
}

/// A fleet that has trained and whose spans go where nobody takes them ends all the same.
async fn ends_in_time_beside(collector: &str) {
    let environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", collector.to_owned())];
    let mut fleet = Fleet::start_in(Shape::default(), environment).await;
    Training::begin(fleet.client(), 2).await.finish().await;
    let services = fleet.workers.iter_mut();
    for service in services.chain([&mut fleet.orchestrator, &mut fleet.compute]) {
        service.ask_to_end();
        let (status, took) = service.ended().await;
        assert!(status.success(), "{status}");
        assert!(took < Duration::from_secs(3), "{took:?} beside {collector}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_ends_in_time_without_its_collector() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    ends_in_time_beside(&format!("http://{address}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_ends_in_time_beside_a_collector_that_hangs() {
    let sink = Sink::start().expect("a sink");
    sink.answer(Answer::Silence);
    ends_in_time_beside(&sink.endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_told_once_and_keep_nobody_away() {
    let wrong = [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("SENTRY_DSN", "not-a-dsn"),
        ("PROMETHEUS_ENABLED", "perhaps"),
        ("LOG_LEVEL", "loud"),
    ];
    let settings = wrong.map(|(name, value)| (name, value.to_owned()));
    let fleet = Fleet::start_in(Shape::default(), settings.to_vec()).await;
    let log = fleet.compute.log();
    for (name, _) in wrong {
        let told = log
            .lines()
            .filter(|line| line.contains("must be") && line.contains(name));
        assert_eq!(told.count(), 1, "{name}:\n{log}");
    }
    let (_, metrics) = fleet.compute.get("/metrics").await;
    for counted in ["setting\"} 3", "endpoint\"} 1", "dsn\"} 1"] {
        let line = format!("telemetry_bad_input_total{{kind=\"{counted}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}
