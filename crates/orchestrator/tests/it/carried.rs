//! Updates that come with their reports, and leases that end with them.

use std::fs;

use artifacts::{BlobStore, Key, fetch};
use bytes::Bytes;
use federation::Digest;
use federation::run::RunState;
use orchestrator::store::Receipt;
use proto::body::UPDATE_WITH_REPORT_MAX;
use proto::v1::worker_message::Done;

use crate::worker::{Leased, Worker};
use crate::world::{Rules, World, job};

/// Trains, and has the report bring the update and end the lease.
async fn carried(world: &World, worker: &Worker, leased: &Leased) -> Done {
    let done = worker.train(leased).await;
    let path = world.study.blobs.path_of(&leased.place());
    let data = Bytes::from(fs::read(&path).unwrap());
    fs::remove_file(&path).unwrap();
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
    let mut all = Vec::new();
    for _client in 0..2 {
        let leased = worker.lease().await;
        let done = carried(&world, &worker, &leased).await;
        all.push((leased.id, done.data.clone()));
        assert!(worker.report(done).await.accepted);
    }
    world.until_state(run, RunState::Completed).await;

    // One behind the other, and the receipts say where.
    let bundle = Key::bundle(&all[0].0, 1);
    let stored = fs::read(world.study.blobs.path_of(&bundle)).unwrap();
    assert_eq!(stored, [&all[0].1[..], &all[1].1[..]].concat());
    let receipts = world.receipts(run, 1).await;
    assert_eq!(receipts.len(), 2);
    for (task, data) in all {
        let of_task = |receipt: &&Receipt| receipt.client == task.client;
        let update = receipts.iter().find(of_task).unwrap().update().unwrap();
        assert_eq!(update.key, bundle);
        let fetched = fetch(&world.study.blobs, &update).await.unwrap();
        assert_eq!(fetched, data);
    }
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
    for place in [leased.place(), Key::bundle(&leased.id, 1)] {
        assert_eq!(world.study.blobs.head(&place).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_update_that_came_with_its_report_and_is_lost_in_part_is_trained_again() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 1)).await;
    let first = worker.lease().await;
    let done = carried(&world, &worker, &first).await;
    assert!(worker.report(done).await.accepted);
    let second = worker.lease().await;
    let done = carried(&world, &worker, &second).await;
    let bundle = world.study.blobs.path_of(&Key::bundle(&first.id, 1));
    let whole = fs::read(&bundle).unwrap();
    fs::write(&bundle, &whole[..whole.len() - 1]).unwrap();
    assert!(worker.report(done).await.accepted);

    let again = worker.lease().await;
    assert_eq!((again.id.client, again.id.attempt), (first.id.client, 2));
    let done = carried(&world, &worker, &again).await;
    assert!(worker.report(done).await.accepted);
    world.until_state(run, RunState::Completed).await;
    let receipts = world.receipts(run, 1).await;
    let damaged = |receipt: &&Receipt| receipt.reason == "damaged";
    let told = &receipts.iter().find(damaged).unwrap().message;
    assert!(told.contains(".bundle has digest"), "{told}");
}

#[tokio::test]
async fn numbers_that_are_none_are_refused_where_they_come_with_a_report() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    world.submit(job(2, 1)).await;
    let leased = worker.lease().await;
    let mut done = carried(&world, &worker, &leased).await;
    let mut data = done.data.to_vec();
    data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let body = done.update.as_mut().unwrap().body.as_mut().unwrap();
    body.digest = Digest::of(&data).to_string();
    done.data = data.into();
    let verdict = worker.report(done).await;
    assert_eq!(verdict.reason, "not_finite", "{}", verdict.message);
}
