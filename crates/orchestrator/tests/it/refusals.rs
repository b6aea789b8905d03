//! Updates that must not count.

use bytes::Bytes;
use federation::run::RunState;
use proto::body;
use proto::v1::worker_message::Done;

use crate::worker::{Worker, announce, announced};
use crate::world::{Rules, World, job};

#[tokio::test]
async fn what_must_not_count_is_refused_by_name_and_the_round_completes_all_the_same() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    let first = worker.lease().await;
    let second = worker.lease().await;
    assert_eq!((first.id.client.0, second.id.client.0), (0, 1));
    let honest = worker.train(&first).await;
    let trained = world.study.blobs.path_of(&first.place());
    let trained = Bytes::from(std::fs::read(trained).unwrap());

    for (reason, done) in lies(&honest) {
        let verdict = worker.report(done).await;
        assert_eq!((verdict.accepted, verdict.reason.as_str()), (false, reason));
    }

    let nan = body::into_bytes(vec![f32::NAN; trained.len() / 4]);
    worker.store(&first, nan.clone()).await;
    let mut diverged = honest.clone();
    announce(&mut diverged, &nan);
    assert_eq!(worker.report(diverged).await.reason, "not_finite");
    worker.store(&first, trained.slice(4..)).await;
    assert_eq!(worker.report(honest.clone()).await.reason, "damaged");

    worker.store(&first, trained).await;
    assert!(worker.report(honest.clone()).await.accepted);
    let again = worker.lease().await;
    assert_eq!((again.id.client, again.id.attempt), (first.id.client, 2));
    let done = worker.train(&again).await;
    assert_eq!(worker.report(done).await.reason, "duplicate");
    let done = worker.train(&second).await;
    assert!(worker.report(done).await.accepted);
    world.until_state(run, RunState::Completed).await;

    let receipts = world.receipts(run, 1).await;
    let reasons: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "wrong_base",
            "wrong_size",
            "no_examples",
            "not_finite",
            "damaged",
            "damaged",
            "damaged",
            "not_finite",
            "damaged",
            "",
            "duplicate",
            "",
        ]
    );
    let rounds = world.study.store.rounds(run, 0, 10).await.unwrap();
    let outcome = rounds[0].outcome.as_ref().unwrap();
    assert_eq!((outcome.accepted, outcome.refused), (2, 10));
}

/// Reports that differ from the honest one in one thing, with the reason to refuse them.
fn lies(honest: &Done) -> Vec<(&'static str, Done)> {
    let mut lies = Vec::new();
    let mut lie = |reason: &'static str, change: &dyn Fn(&mut Done)| {
        let mut done = honest.clone();
        change(&mut done);
        lies.push((reason, done));
    };
    let other = federation::Digest::of(b"other").to_string();
    lie("wrong_base", &|done| done.base_digest.clone_from(&other));
    lie("wrong_size", &|done| announced(done).length_bytes += 4);
    lie("no_examples", &|done| done.num_examples = 0);
    lie("not_finite", &|done| done.mean_loss = f64::NAN);
    lie("damaged", &|done| announced(done).digest.clone_from(&other));
    lie("damaged", &|done| {
        done.update.as_mut().unwrap().key = "runs/x/rounds/y/updates/z".to_owned();
    });
    lie("damaged", &|done| {
        done.update.as_mut().unwrap().offset_bytes = 4
    });
    lies
}

#[tokio::test]
async fn strangers_and_latecomers_are_refused_by_name() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 2)).await;
    let first = worker.lease().await;
    let honest = worker.train(&first).await;
    let named = |task: String| {
        let mut done = honest.clone();
        done.task = task;
        done
    };
    let stranger = worker.report(named(format!("{run}/1/client-0099/1"))).await;
    assert_eq!(stranger.reason, "not_in_cohort");
    let early = worker.report(named(format!("{run}/2/client-0000/1"))).await;
    assert_eq!(early.reason, "late");
    let nonsense = worker.report(named("nonsense".to_owned())).await;
    assert_eq!(nonsense.reason, "invalid_message");
    let nil = uuid::Uuid::nil();
    let unknown = worker.report(named(format!("{nil}/1/client-0000/1"))).await;
    assert_eq!(unknown.reason, "run_not_running");
    let counted = "pangea_updates_refused_total{reason=\"run_not_running\"} 1";
    world.until_shown(&[counted]).await;

    assert!(worker.report(honest.clone()).await.accepted);
    let second = worker.lease().await;
    let mut late = honest.clone();
    late.lease_epoch += 1;
    assert_eq!(worker.report(late.clone()).await.reason, "late");
    let done = worker.train(&second).await;
    assert!(worker.report(done).await.accepted);
    world.until_state(run, RunState::Completed).await;
    let verdict = worker.report(late).await;
    // The run's driver may be on its way out, or gone.
    assert!(
        ["late", "run_not_running"].contains(&verdict.reason.as_str()),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn a_report_that_is_repeated_gets_its_verdict_again_and_counts_once() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    let first = worker.lease().await;
    let done = worker.train(&first).await;
    assert!(worker.report(done.clone()).await.accepted);
    assert!(
        worker.report(done.clone()).await.accepted,
        "in the same round"
    );
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    assert!(worker.report(done).await.accepted, "after the end");
    assert_eq!(world.receipts(run, 1).await.len(), 2);
    world
        .until_shown(&[
            "collab_thoughts_total{agent=\"w\",category=\"gradient\"} 2",
            "collab_actions_total{agent=\"w\",decision=\"proposed\"} 2",
            "collab_actions_total{agent=\"w\",decision=\"approved\"} 2",
            "collab_actions_total{agent=\"w\",decision=\"rejected\"} 0",
        ])
        .await;
    let workers = world.study.fleet.list(world.study.now());
    assert_eq!(workers[0].updates_accepted, 2);
}
