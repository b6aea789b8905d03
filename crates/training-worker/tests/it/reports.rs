//! What a report says and brings.

use artifacts::{BlobStore, Key};
use federation::Digest;
use proto::body::UPDATE_WITH_REPORT_MAX;
use proto::v1::worker_message::{Done, Kind};

use crate::workshop::{Scene, large_model, soon};

/// The only report, and the place of its update.
fn done(reports: &[Kind]) -> (Done, Key) {
    let [Kind::Done(done)] = reports else {
        panic!("{reports:?}");
    };
    let place = done.update.as_ref().unwrap().key.parse().unwrap();
    (done.clone(), place)
}

fn announced(done: &Done) -> (u64, String) {
    let body = done.update.as_ref().unwrap().body.clone().unwrap();
    (body.length_bytes, body.digest)
}

#[tokio::test]
async fn a_small_update_comes_with_its_report_and_ends_the_lease() {
    let mut scene = Scene::new();
    let task = scene.task(3).await;
    scene.send(&task, &[]).await;
    let (done, place) = done(&scene.work(1).await);
    let bytes = (done.data.len() as u64, Digest::of(&done.data).to_string());
    assert_eq!(bytes, announced(&done));
    assert_eq!(scene.store.head(&place).await.unwrap(), None);
    // It is the orchestrator who takes the task out of the queue.
    let handle = task_queue::LeaseHandle(done.lease);
    soon(task_queue::TaskQueue::acknowledge(&*scene.queue, &handle))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_large_update_is_stored_before_it_is_reported() {
    let mut scene = Scene::new();
    let task = scene.task_of(&large_model(), 3).await;
    scene.send(&task, &[]).await;
    let (done, place) = done(&scene.work(1).await);
    assert!(done.data.is_empty());
    let (len, _) = announced(&done);
    assert!(len > UPDATE_WITH_REPORT_MAX as u64);
    assert_eq!(scene.store.head(&place).await.unwrap(), Some(len));
    let spans = scene.spans();
    assert!(spans.iter().any(|span| span.name == "store update"));
    let stored = scene.workshop.metrics.phase_seconds.of("store");
    assert_eq!(stored.count(), 1);
}
