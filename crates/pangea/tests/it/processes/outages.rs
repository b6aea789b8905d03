//! Somebody who is needed is not there, or does not do its part.

use std::io::Write;
use std::net::TcpListener;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::timeout;

use super::fleet::{Fleet, Shape, free_port};
use super::service::{Kind, LOOK, PATIENCE, Service};
use super::training::{ROUNDS, Training, undisturbed};

/// Statements that make the run store fail at reports, and mend it.
const KEEP_NO_REPORT: &str =
    "CREATE TRIGGER full BEFORE INSERT ON receipts BEGIN SELECT RAISE(ABORT, 'full'); END";
const KEEP_REPORTS: &str = "DROP TRIGGER full";

/// A place where nobody listens. Its port is below those that the system deals out by itself, so
/// that nobody else is given it before it is used.
pub(super) fn dead_address() -> String {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = process::id() + TAKEN.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", 10_000 + number % 10_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_first_connects_when_the_orchestrator_does_and_warns_once() {
    let folder = tempfile::tempdir().unwrap();
    let grpc = dead_address();
    let settings = vec![
        ("ORCHESTRATOR", grpc.clone()),
        ("COMPUTE", dead_address()),
        ("HTTP__LISTEN", free_port()),
        ("LOG__FILTER", "info,training_worker=debug".to_owned()),
    ];
    let log = folder.path().join("worker.log");
    let worker = Service::start(Kind::TrainingWorker, settings, log).await;
    worker
        .until_logged("the orchestrator still does not answer")
        .await;
    assert!(worker.get("/ready").await.0.starts_with("HTTP/1.1 503"));

    let settings = vec![
        ("GRPC__LISTEN", grpc),
        ("HTTP__LISTEN", free_port()),
        ("DATA_DIR", folder.path().join("data").display().to_string()),
    ];
    let log = folder.path().join("orchestrator.log");
    let mut orchestrator = Service::start(Kind::Orchestrator, settings, log).await;
    orchestrator.until_logged("worker connected").await;
    worker.until_logged("connected to the orchestrator").await;
    let told = async {
        while !worker
            .get("/health")
            .await
            .1
            .contains(r#""orchestrator":"connected""#)
        {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, told)
        .await
        .expect("a look at the session");
    assert_eq!(count_of(&worker, "WARN"), 1, "{}", worker.log());

    let attempts = count_of(&worker, "still does not answer");
    orchestrator.kill().await;
    let again = async {
        while count_of(&worker, "still does not answer") < attempts + 2 {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, again).await.expect("two more attempts");
    // What was there for a moment was not there.
    assert_eq!(count_of(&worker, "WARN"), 1, "{}", worker.log());
}

fn count_of(service: &Service, text: &str) -> usize {
    service.log().matches(text).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_go_on_after_an_orchestrator_that_was_stopped_in_order() {
    let mut fleet = Fleet::start(Shape::default()).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    for round in [1, 3, 5] {
        training.until_committed(round).await;
        fleet.orchestrator.ask_to_end();
        assert!(fleet.orchestrator.ended().await.0.success());
        fleet.orchestrator.start_again().await;
    }
    assert_eq!(training.finish().await, *undisturbed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_the_store_does_not_keep_is_made_again() {
    if !sqlite_is_there("a_report_that_the_store_does_not_keep_is_made_again") {
        return;
    }
    let fleet = Fleet::start(Shape {
        workers: 1,
        ..Shape::default()
    })
    .await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    training.until_committed(1).await;
    fleet.change_store(KEEP_NO_REPORT);
    fleet.workers[0]
        .until_logged("the orchestrator's session ended")
        .await;
    fleet.change_store(KEEP_REPORTS);
    assert_eq!(training.finish().await, *undisturbed().await);
    let rounds = training.rounds().await;
    let mut updates = rounds.iter().flat_map(|round| &round.updates);
    assert!(
        updates.all(|update| update.accepted && update.lease_epoch == 1),
        "an update was made again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_report_outlives_the_orchestrator() {
    if !sqlite_is_there("a_pending_report_outlives_the_orchestrator") {
        return;
    }
    // The only worker holds on to its report for longer than this test waits: if it does not
    // report again, nothing happens.
    let mut fleet = Fleet::start(Shape {
        workers: 1,
        lease_ttl: "5min",
        ..Shape::default()
    })
    .await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    training.until_committed(1).await;
    fleet.change_store(KEEP_NO_REPORT);
    fleet.workers[0]
        .until_logged("the orchestrator's session ended")
        .await;
    fleet.orchestrator.kill().await;
    fleet.change_store(KEEP_REPORTS);
    fleet.orchestrator.start_again().await;
    assert_eq!(training.finish().await, *undisturbed().await);
}

/// Whether Python can open the run store. If not, the test `name` is told to have been skipped.
#[expect(clippy::disallowed_methods, reason = "the tests' contract is there")]
fn sqlite_is_there(name: &str) -> bool {
    let tried = Command::new("python3")
        .args(["-c", "import sqlite3"])
        .status();
    if tried.is_ok_and(|status| status.success()) {
        return true;
    }
    let required = std::env::var("REQUIRE_TOOLS").is_ok_and(|required| required == "1");
    assert!(!required, "python3 with sqlite3 is not there");
    if let Ok(path) = std::env::var("PANGEA_SKIPPED_FILE") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .expect("a file");
        writeln!(file, "SKIPPED: {name}: python3 with sqlite3 is not there").expect("a line");
    }
    false
}
