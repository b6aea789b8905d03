//! Whoever dies, and before whichever of its calls: the run finishes, with the same bytes.
//!
//! An undisturbed run says how many calls a service makes: statements of the run store, operations
//! on artifacts and on the queue, calls to other services. Then it dies before each of them in turn,
//! in a house of its own, and a supervisor starts it again. No call is named here, so a new one is
//! covered when it appears.

use std::fs;

use futures::{StreamExt, stream};
use tokio::time::timeout;

use super::doomed::{self, Doom};
use super::kills::long_form;
use super::service::Kind;
use super::supervised::Supervised;
use crate::scene::A_MINUTE;

/// Houses at one time.
const AT_ONCE: usize = 3;

/// Deaths of each service in the short form, spread over its calls.
const SAMPLES: u64 = 6;

/// How a house fared in which `victim` died before a call of its: the model's digest, how often
/// anybody died, and the calls that were heard.
async fn story(victim: Kind, before: Option<u64>) -> (String, u32, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let doom = Doom {
        calls: folder.path().join("calls"),
        before,
    };
    let calls = doom.calls.clone();
    let start = Box::new(move |kind, settings: &_| doomed::command(kind, settings, &doom));
    let house = Supervised::start(folder, Some((victim, start)));
    let model = timeout(A_MINUTE, house.train()).await;
    let model = model.unwrap_or_else(|_| panic!("{victim:?} before {before:?}: {}", house.logs()));
    let calls = fs::read_to_string(calls).map_or(0, |calls| calls.lines().count() as u64);
    (model, house.deaths(), calls)
}

async fn dies_before_every_call(victim: Kind) {
    let (undisturbed, deaths, calls) = story(victim, None).await;
    assert_eq!(deaths, 0);
    assert!(calls > 20, "{calls} calls");
    let step = if long_form() { 1 } else { calls / SAMPLES };
    let stories = stream::iter((1..=calls).step_by(usize::try_from(step).expect("small")))
        .map(|before| async move { (before, story(victim, Some(before)).await) })
        .buffer_unordered(AT_ONCE);
    let mut died = 0;
    let mut told = 0;
    let mut stories = std::pin::pin!(stories);
    while let Some((before, (model, deaths, _))) = stories.next().await {
        assert_eq!(model, undisturbed, "{victim:?} died before call {before}");
        assert!(deaths <= 1, "{victim:?} died {deaths} times");
        (died, told) = (died + deaths, told + 1);
    }
    // A run may take a few calls less than another: who waits less often asks less often.
    assert!(died * 2 > told, "{died} deaths in {told} houses");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_dies_before_any_of_its_calls() {
    dies_before_every_call(Kind::Orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_before_any_of_its_calls() {
    dies_before_every_call(Kind::TrainingWorker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compute_core_dies_before_any_of_its_calls() {
    dies_before_every_call(Kind::ComputeCore).await;
}
