//! Many at once: nothing is lost, no watcher misses an event, and every run makes the same model.
//!
//! `PANGEA_PROOF=1` takes the numbers of a large house; `-- --nocapture` shows what was measured.
#![expect(clippy::print_stdout, reason = "a measurement tells what it found")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use client::{Client, Patience, random_key, v1};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use crate::processes::long_form;
use crate::scene::{DIGITS, Scene, digits_options, job};

/// Callers at one time.
const CALLERS: usize = 64;

/// Rows of the digits that are used.
const ROWS: usize = 60;

const JOB: &str = "\
name: small
model: { kind: softmax_regression }
dataset:
  name: digits
  partition: { kind: iid, clients: 2 }
local:
  steps: 1
  optimizer: { kind: sgd, learning_rate: 0.05 }
rounds: 2
seed: 7
";

/// A large house: workers, jobs, and how long all of it may take.
fn size() -> (usize, usize, Duration) {
    if long_form() {
        (50, 1_000, Duration::from_secs(15 * 60))
    } else {
        (6, 40, Duration::from_secs(60))
    }
}

/// Submits a job and says its run and how long that took.
async fn submit(client: &Client, job: &client::JobSpec) -> (String, Duration) {
    let begun = Instant::now();
    let submitted = client.submit(job, random_key()).await.expect("a run");
    (submitted.run.run, begun.elapsed())
}

/// Follows a run to its end, and says the digest of its model.
async fn follow(client: &Client, run: &str) -> String {
    let events = client.watch(run, 0, Patience::default());
    let events: Vec<v1::Event> = events.try_collect().await.expect("events");
    let sequences = events.iter().map(|event| event.sequence);
    assert!(sequences.eq(1..=events.len() as u64), "{run} has a gap");
    let ended = client.run(run).await.expect("a run");
    assert_eq!(ended.state(), v1::RunState::Completed, "{}", ended.reason);
    let rounds = client.rounds(run).await.expect("rounds");
    let updates = rounds.iter().flat_map(|round| &round.updates);
    assert_eq!(updates.filter(|update| update.accepted).count(), 4);
    rounds[1].model_digest.clone()
}

/// The largest resident memory of this process so far, in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    kib.map_or(0, |kib| kib.trim().parse::<u64>().expect("a number") / 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_of_many_callers_all_end_and_none_is_lost() {
    let (workers, jobs, patience) = size();
    let done = tokio::time::timeout(patience, load(workers, jobs)).await;
    done.expect("all of it in time");
}

async fn load(workers: usize, jobs: usize) {
    let scene = Scene::open(tempfile::tempdir().expect("a folder"), workers).await;
    let rows = scene.dir.path().join("rows.csv");
    let digits = fs::read_to_string(DIGITS).expect("the digits");
    let digits: Vec<&str> = digits.lines().take(ROWS + 1).collect();
    fs::write(&rows, digits.join("\n") + "\n").expect("some rows");
    let imported = scene.client.import_dataset(&rows, &digits_options()).await;
    imported.expect("a data set");

    let (job, client) = (job(JOB, &[]), &scene.client);
    let begun = Instant::now();
    let submitted: Vec<_> = stream::iter(0..jobs)
        .map(|_| submit(client, &job))
        .buffer_unordered(CALLERS)
        .collect()
        .await;
    let submitting = begun.elapsed();
    let digests: BTreeSet<String> = stream::iter(&submitted)
        .map(|(run, _)| follow(client, run))
        .buffer_unordered(CALLERS)
        .collect()
        .await;
    let all = begun.elapsed();
    assert_eq!(digests.len(), 1, "the same job makes the same model");
    let runs: BTreeSet<_> = submitted.iter().map(|(run, _)| run).collect();
    assert_eq!(runs.len(), jobs);

    let mut latencies: Vec<_> = submitted.iter().map(|(_, took)| *took).collect();
    latencies.sort_unstable();
    let quantile = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    let dir = scene.close().await;
    let begun = Instant::now();
    let scene = Scene::open(dir, workers).await;
    println!(
        "{jobs} jobs, {CALLERS} callers, {workers} workers: submitted in {submitting:.1?} \
         (p50 {:.0?}, p99 {:.0?}), all done in {all:.1?}, peak {} MiB, started again in {:.0?}",
        quantile(50),
        quantile(99),
        peak_mib(),
        begun.elapsed(),
    );
    scene.close().await;
}
