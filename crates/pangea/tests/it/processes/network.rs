//! Over a network that is slow, stands still or breaks: the run finishes, with the same bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::v1;
use tokio::sync::OnceCell;

use super::kills::long_form;
use super::linked::{Habits, Linked};
use super::training::{ROUNDS, Trace, Training, alone, undisturbed};

/// 1 Mbit/s.
const SLOW: u32 = 125_000;

/// A line on which a test can meet a transfer in its middle.
const MEASURED: u32 = 600_000;

/// Bytes of the parameters of [`WIDE`], and so of each update.
const WIDE_BYTES: u64 = 4 * (64 * 2048 + 2048 + 2048 * 10 + 10);

/// A model that a slow line carries for five seconds.
pub(crate) const WIDE: &str = "\
name: wide
model: { kind: mlp, hidden: [2048], activation: relu }
dataset:
  name: digits
  partition: { kind: iid, clients: 2 }
local:
  steps: 5
  optimizer: { kind: sgd, learning_rate: 0.05 }
rounds: 1
seed: 7
publish_as: wide
";

pub(crate) async fn wide_alone() -> &'static Trace {
    static ALONE: OnceCell<Trace> = OnceCell::const_new();
    ALONE.get_or_init(|| alone(WIDE)).await
}

/// Every update that was reported in a run.
async fn updates(training: &Training) -> Vec<v1::round::Update> {
    let rounds = training.rounds().await;
    rounds.into_iter().flat_map(|round| round.updates).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stands_still_for_longer_than_a_heartbeat_goes_on() {
    let net = Linked::start(Habits {
        workers: 1,
        lease_ttl: "10s",
        ..Habits::default()
    })
    .await;
    net.until_complete().await;
    let line = &net.lines[0].orchestrator;
    line.throttle(MEASURED);
    let mut training = Training::of(net.client(), WIDE).await;
    line.until_up(WIDE_BYTES / 2).await;
    line.freeze();
    net.until_state("worker-1", v1::WorkerState::Suspect).await;
    let connections = line.connections();
    line.thaw();
    assert_eq!(training.finish().await, *wide_alone().await);
    assert_eq!(line.connections(), connections, "nothing was made again");
    assert!(line.up() < 2 * WIDE_BYTES + WIDE_BYTES / 4, "{}", line.up());
    let updates = updates(&training).await;
    assert!(updates.iter().all(|update| update.lease_epoch == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_whose_other_end_is_gone_is_noticed_and_another_worker_takes_over() {
    let net = Linked::start(Habits {
        idle_timeout: "2s",
        ..Habits::default()
    })
    .await;
    net.until_complete().await;
    let line = &net.lines[0].orchestrator;
    line.throttle(MEASURED);
    let mut training = Training::of(net.client(), WIDE).await;
    line.until_up(WIDE_BYTES / 2).await;
    let connections = line.connections();
    line.lose();
    assert_eq!(training.finish().await, *wide_alone().await);
    let updates = updates(&training).await;
    let taken_over =
        |update: &v1::round::Update| update.worker == "worker-2" && update.lease_epoch > 1;
    assert!(updates.iter().any(taken_over), "{updates:?}");
    line.until_connected(connections + 1).await;
    net.until_state("worker-1", v1::WorkerState::Healthy).await;
    let ended = net.orchestrator.log().matches("worker gone").count();
    assert!(ended >= 1, "the orchestrator noticed too");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_whose_line_is_cut_is_made_again() {
    let net = Linked::start(Habits::default()).await;
    net.until_complete().await;
    let line = &net.engine;
    let mut training = Training::of(net.client(), WIDE).await;
    // The parameters of round 1, and the test rows.
    line.throttle(MEASURED);
    line.until_up(WIDE_BYTES / 4).await;
    line.cut();
    line.until_up(WIDE_BYTES / 2).await;
    line.cut();
    assert_eq!(training.finish().await, *wide_alone().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_where_everything_takes_long_makes_the_same_model_and_warns_of_nothing() {
    let net = Linked::start(Habits::default()).await;
    net.until_complete().await;
    for line in net.all_lines() {
        line.delay(Duration::from_millis(50));
    }
    let mut training = Training::of(net.distant_client(), WIDE).await;
    assert_eq!(training.finish().await, *wide_alone().await);
    for service in net.workers.iter().chain([&net.orchestrator]) {
        assert!(!service.log().contains("WARN"), "{}", service.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_that_advance_are_not_failed_however_long_they_take() {
    // Each takes longer than a lease, and longer than a silent connection is kept.
    let net = Linked::start(Habits {
        lease_ttl: "2s",
        idle_timeout: "4s",
        ..Habits::default()
    })
    .await;
    net.until_complete().await;
    for lines in &net.lines {
        lines.orchestrator.throttle(SLOW);
    }
    let mut training = Training::of(net.client(), WIDE).await;
    assert_eq!(training.finish().await, *wide_alone().await);
    let updates = updates(&training).await;
    assert_eq!(updates.len(), 2);
    let first = |update: &v1::round::Update| update.accepted && update.lease_epoch == 1;
    assert!(updates.iter().all(first), "{updates:?}");
    for worker in &net.workers {
        assert!(!worker.log().contains("WARN"), "{}", worker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_goes_on_where_it_broke() {
    let net = Linked::start(Habits {
        workers: 1,
        lease_ttl: "10s",
        ..Habits::default()
    })
    .await;
    net.until_complete().await;
    let line = &net.lines[0].orchestrator;
    line.throttle(MEASURED);
    let mut training = Training::of(net.client(), WIDE).await;
    for part in 1..=3 {
        line.until_up(part * WIDE_BYTES / 4).await;
        line.cut();
    }
    assert_eq!(training.finish().await, *wide_alone().await);
    // Of two updates; what was on its way at a cut is sent again.
    let again = line.up() - 2 * WIDE_BYTES;
    assert!(again < WIDE_BYTES / 2, "{again} bytes were sent again");
    let updates = updates(&training).await;
    assert!(updates.iter().all(|update| update.lease_epoch == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_a_line_that_breaks_misses_nothing_and_repeats_nothing() {
    use futures::StreamExt;
    let net = Linked::start(Habits::default()).await;
    net.until_complete().await;
    let mut training = Training::begin(net.client(), ROUNDS).await;
    let (client, run) = (net.distant_client(), training.run.clone());
    let seen = AtomicU64::new(0);
    let watching = async {
        let mut events = client.watch(&run, 0, client::Patience::default()).boxed();
        while let Some(event) = events.next().await {
            let expected = seen.fetch_add(1, Ordering::SeqCst) + 1;
            assert_eq!(event.expect("an event").sequence, expected);
            if expected.is_multiple_of(7) {
                net.users.cut();
            }
        }
    };
    let (trace, ()) = tokio::join!(training.finish(), watching);
    assert_eq!(trace, *undisturbed().await);
    assert!(seen.into_inner() > 20, "{}", net.users.connections());
    assert!(net.users.connections() > 3, "it was not cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_straggler_is_not_waited_for_and_its_update_is_refused_as_late() {
    let net = Linked::start(Habits {
        lease_ttl: "1min",
        ..Habits::default()
    })
    .await;
    net.until_complete().await;
    let line = &net.lines[0].orchestrator;
    line.throttle(MEASURED);
    // The other worker takes a second or two for round 2.
    net.lines[1].orchestrator.throttle(2 * MEASURED);
    let cohort = "cohort: { quorum: 0.5, deadline: 2s }\n";
    let job = WIDE.replace("rounds: 1\n", &format!("rounds: 2\n{cohort}"));
    let mut training = Training::of(net.client(), &job).await;
    line.until_up(WIDE_BYTES / 2).await;
    line.freeze();
    training.until_committed(1).await;
    line.throttle(u32::MAX);
    line.thaw();
    training.finish().await;
    let rounds = training.rounds().await;
    let refused: Vec<_> = rounds[0]
        .updates
        .iter()
        .filter(|update| !update.accepted)
        .collect();
    assert_eq!(refused.len(), 1, "{rounds:?}");
    assert_eq!(
        (&*refused[0].worker, &*refused[0].reason),
        ("worker-1", "late")
    );
    assert_eq!(rounds[0].updates.len(), 2);
    for round in &rounds {
        let again = training.client.replay(&training.run, round.round).await;
        assert!(again.expect("a replay").equal, "round {}", round.round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transfer_over_a_slow_line_is_not_failed() {
    if !long_form() {
        return;
    }
    let net = Linked::start(Habits::default()).await;
    net.until_complete().await;
    for lines in &net.lines {
        lines.orchestrator.throttle(SLOW);
    }
    // 2.6 MB, so 21 s each way: longer than a connection may be silent.
    let job = WIDE.replace("[2048]", "[8500]");
    let bytes = WIDE_BYTES / 2048 * 8500;
    let mut training = Training::of(net.client(), &job).await;
    for lines in &net.lines {
        lines.orchestrator.until_down(bytes).await;
    }
    for lines in &net.lines {
        lines.orchestrator.until_up(bytes / 10 * 9).await;
    }
    assert_eq!(training.finish().await, alone(&job).await);
}
