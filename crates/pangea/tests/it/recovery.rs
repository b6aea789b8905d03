//! What is taken away in the middle of a run and comes back.

use client::v1;
use client::v1::event::Kind;

use crate::scene::{A_MINUTE, SHORT_JOB, Scene, change_to, commit_of, count, job, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_house_without_its_compute_core_stalls_and_recovers() {
    let mut scene = Scene::with_digits(2).await;
    let job_of_six = job(SHORT_JOB, &[("rounds: 4", "rounds: 6")]);
    let undisturbed = scene.undisturbed(&job_of_six).await;

    let run = scene.submit(&job_of_six).await;
    let mut watching = scene.watch(&run, 0);
    watching.until(commit_of(2)).await;
    within(A_MINUTE, scene.house.stop_compute()).await;
    // Nobody makes the initial model of another run, so that one says what is missing.
    let second = scene
        .submit(&job(SHORT_JOB, &[("seed: 7", "seed: 8")]))
        .await;
    let mut second = scene.watch(&second, 0);
    let stalled = second.until(|kind| matches!(kind, Kind::Stalled(_))).await;
    let Kind::Stalled(stalled) = stalled else {
        panic!("{stalled:?}");
    };
    assert_eq!(stalled.waiting_for, "compute-core");
    assert!(
        stalled.message.starts_with("compute-core: "),
        "{}",
        stalled.message
    );
    let away = scene.client.run(&run).await.unwrap();
    assert!(
        away.rounds_committed < 6,
        "the run ended before compute-core did"
    );
    assert_eq!(away.state(), v1::RunState::Running);

    scene.house.start_compute().await.unwrap();
    let events = watching.rest().await;
    scene.completed(&run).await;
    assert_eq!(scene.digest(&run).await, undisturbed);
    let kinds = events.iter().filter_map(|event| event.kind.as_ref());
    let failures: Vec<_> = kinds
        .filter(|kind| matches!(kind, Kind::TaskFailed(_) | Kind::UpdateRefused(_)))
        .collect();
    assert!(
        failures.is_empty(),
        "an absence is nobody's failure: {failures:?}"
    );
    let second = second.rest().await;
    assert_eq!(count(&second, change_to(v1::RunState::Completed)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_house_goes_on_where_it_stood() {
    let scene = Scene::with_digits(2).await;
    let job_of_six = job(SHORT_JOB, &[("rounds: 4", "rounds: 6")]);
    let undisturbed = scene.undisturbed(&job_of_six).await;

    let run = scene.submit(&job_of_six).await;
    let mut watching = scene.watch(&run, 0);
    watching.until(commit_of(3)).await;
    let (cursor, mut events) = (watching.cursor(), watching.seen.clone());
    let dir = scene.close().await;

    let scene = Scene::open(dir, 2).await;
    events.extend(scene.watch(&run, cursor).rest().await);
    let run = scene.completed(&run).await;
    assert_eq!(scene.digest(&run.run).await, undisturbed);
    assert!(
        events
            .iter()
            .map(|event| event.sequence)
            .eq(1..=events.len() as u64)
    );
    for round in 1..=6 {
        assert_eq!(count(&events, commit_of(round)), 1, "round {round}");
    }
}
