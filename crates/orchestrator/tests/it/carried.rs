//! Updates that come with their reports, and leases that end with them.

use artifacts::BlobStore;
use bytes::Bytes;
use federation::run::RunState;
use proto::body::UPDATE_WITH_REPORT_MAX;
use proto::v1::worker_message::Done;

use crate::worker::{Leased, Worker};
use crate::world::{Rules, World, job};

/// Trains, and has the report bring the update and end the lease.
async fn carried(world: &World, worker: &Worker, leased: &Leased) -> Done {
    let done = worker.train(leased).await;
    let path = world.study.blobs.path_of(&leased.place());
    let data = Bytes::from(std::fs::read(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    Done {
        data,
        lease: leased.handle().to_owned(),
        ..done
    }
}

#[tokio::test]
async fn an_update_may_come_with_its_report_which_ends_the_lease() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    for _client in 0..2 {
        let leased = worker.lease().await;
        let done = carried(&world, &worker, &leased).await;
        let len = done.data.len() as u64;
        assert!(worker.report(done).await.accepted);
        let stored = world.study.blobs.head(&leased.place()).await.unwrap();
        assert_eq!(stored, Some(len));
    }
    world.until_state(run, RunState::Completed).await;
    world
        .until_shown(&[
            "training_leases_total{outcome=\"acknowledged\"} 2",
            "training_queue_depth{state=\"leased\"} 0",
        ])
        .await;
}

#[tokio::test]
async fn other_bytes_than_announced_are_damaged_and_too_many_are_not_understood() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    world.submit(job(2, 1)).await;
    let leased = worker.lease().await;
    let honest = carried(&world, &worker, &leased).await;

    let mut other = honest.clone();
    other.data = vec![0; honest.data.len()].into();
    let verdict = worker.report(other).await;
    assert_eq!(
        (verdict.accepted, verdict.reason.as_str()),
        (false, "damaged")
    );
    assert!(verdict.message.contains("digest"), "{}", verdict.message);

    let mut large = honest.clone();
    large.data = vec![0; UPDATE_WITH_REPORT_MAX + 1].into();
    let verdict = worker.report(large).await;
    assert_eq!(verdict.reason, "invalid_message");
    assert!(verdict.message.contains("65536"), "{}", verdict.message);

    // What says that it belongs elsewhere is stored nowhere.
    let mut elsewhere = honest;
    elsewhere.lease_epoch += 1;
    let verdict = worker.report(elsewhere).await;
    assert_eq!(verdict.reason, "damaged");
    let update = leased.place();
    assert_eq!(world.study.blobs.head(&update).await.unwrap(), None);
}
