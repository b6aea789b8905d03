use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn there(name: &'static str) -> Check {
    Check::needed(name, || ready(Ok::<_, Infallible>(())))
}

fn names(found: &[Found], is_there: bool) -> Vec<&'static str> {
    let of = found.iter().filter(|found| found.is_there == is_there);
    of.map(|found| found.name).collect()
}

#[tokio::test]
async fn a_dependency_that_hangs_is_not_there_and_holds_up_nobody() {
    let hangs = |name| Check::needed(name, pending::<Result<(), Infallible>>);
    let checks = vec![hangs("queue"), there("store"), hangs("compute")];
    let limit = Duration::from_millis(20);
    let health = Health::timed(checks, CancellationToken::new(), limit, FRESH);
    let found = timeout(PATIENCE, health.look()).await.expect("in time");
    assert_eq!(names(&found, true), ["store"]);
    assert_eq!(names(&found, false), ["queue", "compute"]);
}

/// How often a store was asked for when ten asked at once, and then one more.
async fn probes_of_ten_and_one(fresh: Duration) -> (usize, usize) {
    let probes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&probes);
    let check = Check::needed("store", move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(())
        }
    });
    let health = Health::timed(vec![check], CancellationToken::new(), PATIENCE, fresh);
    let answers = join_all((0..10).map(|_| health.look())).await;
    assert!(answers.iter().all(|found| found[0].is_there));
    let of_ten = probes.load(Ordering::Relaxed);
    health.look().await;
    (of_ten, probes.load(Ordering::Relaxed))
}

#[tokio::test]
async fn an_answer_is_for_all_who_ask_until_it_is_old() {
    assert_eq!(probes_of_ten_and_one(PATIENCE).await, (1, 1));
    assert_eq!(probes_of_ten_and_one(Duration::ZERO).await, (10, 11));
}

#[tokio::test]
async fn who_leaves_during_a_probe_leaves_nothing_locked() {
    let check = Check::helpful("store", || async {
        tokio::task::yield_now().await;
        Err("gone")
    });
    let health = Health::new(vec![check], CancellationToken::new());
    assert!(health.look().now_or_never().is_none());
    let found = health.look().await;
    let expected = Found {
        name: "store",
        is_needed: false,
        is_there: false,
    };
    assert_eq!(*found, [expected]);
}
