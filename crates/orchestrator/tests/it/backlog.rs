//! A store that has much in it is taken up as fast as one that has little.

use std::fs;
use std::time::Duration;

use artifacts::Key;
use orchestrator::checkpoint;
use proto::v1::WatchRequest;
use proto::v1::jobs_client::JobsClient;

use crate::worker::Worker;
use crate::world::{Rules, World, job};

/// Rounds that a long run has behind it.
const ROUNDS: u32 = 99_999;

/// From opening the store to the next task in a worker's hands: 2 seconds on a machine that has time,
/// where the long form runs. Beside other tests it is only not to grow with the rounds.
fn in_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a person asks for the long form")]
    let long_form = std::env::var("PANGEA_PROOF").is_ok();
    Duration::from_secs(if long_form { 2 } else { 15 })
}

/// Has round 1 stand for all rounds until the last.
const REPEAT: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99999)
    INSERT INTO rounds (run, round, phase, cohort, quorum, base, opened_at, closed_at, reason, outcome)
    SELECT run, n, phase, cohort, quorum, base, opened_at, closed_at, reason,
           replace(outcome, '\"round\":1,', '\"round\":' || n || ',')
    FROM rounds, numbers WHERE round = 1";
const COUNT: &str = "UPDATE runs SET rounds_committed = 99999";
/// The one that was open when the orchestrator stopped.
const FORGET: &str = "DELETE FROM rounds WHERE round = 2";
const FORGET_ATTEMPTS: &str = "DELETE FROM attempts WHERE round = 2";

#[tokio::test]
async fn a_run_of_a_hundred_thousand_rounds_goes_on_at_once() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, ROUNDS + 1)).await;
    worker.work_on(1).await;
    let next = worker.lease().await;
    assert_eq!(next.id.round, 2);
    world.until_committed(run, 1).await;
    let blobs = &world.study.blobs;
    let manifest = checkpoint::manifest(blobs, run, 1).await.unwrap();
    let mut manifest = manifest.expect("round 1");
    manifest.round = ROUNDS;
    manifest.outcome.as_mut().unwrap().round = ROUNDS;
    let path = blobs.path_of(&Key::checkpoint_manifest(run, ROUNDS));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();

    drop(worker);
    let statements = [FORGET, FORGET_ATTEMPTS, REPEAT, COUNT];
    let (world, took) = world.restart_timed(&statements).await;
    let mut worker = Worker::connect(&world, "w").await;
    let next = worker.lease().await;
    let took = took.elapsed();
    assert_eq!(next.id.round, ROUNDS + 1);
    assert!(took < in_time(), "{took:?}");
    let rounds = world.study.store.rounds(run, ROUNDS - 1, 10).await.unwrap();
    assert_eq!(rounds[0].outcome.as_ref().unwrap().round, ROUNDS);
}

/// One event a second, for a day.
const DAY: u64 = 86_400;
const TELL: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < 86400)
    INSERT INTO events (run, sequence, time, body)
    SELECT run, n, time + 1000 * n, body FROM events, numbers WHERE sequence = 1
    ON CONFLICT DO NOTHING";

#[tokio::test]
async fn a_days_events_are_watched_without_a_gap() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(job(1, 1)).await;
    let world = world.restart(&[TELL]).await;
    let mut client = JobsClient::new(world.channel.clone());
    let request = WatchRequest {
        run: run.to_string(),
        cursor: 0,
    };
    let mut events = client.watch(request).await.unwrap().into_inner();
    for sequence in 1..=DAY {
        let event = events.message().await.unwrap().expect("an event");
        assert_eq!(event.sequence, sequence);
    }
}
