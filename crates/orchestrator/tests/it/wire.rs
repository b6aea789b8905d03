//! What users see over the wire.

use std::time::Duration;

use bytes::Bytes;
use federation::RunId;
use federation::run::{Command, RunState};
use proto::v1;
use proto::v1::datasets_client::DatasetsClient;
use proto::v1::event::Kind;
use proto::v1::jobs_client::JobsClient;
use proto::v1::{
    ImportDatasetRequest, ImportOptions, ShowDatasetRequest, WatchRequest, import_dataset_request,
};
use tokio::time::timeout;

use crate::worker::Worker;
use crate::world::{PATIENCE, Rules, World, job, table};

async fn watch(world: &World, run: RunId, cursor: u64) -> Vec<v1::Event> {
    let mut client = JobsClient::new(world.channel.clone());
    let request = WatchRequest {
        run: run.to_string(),
        cursor,
    };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(event) = timeout(PATIENCE, stream.message()).await.unwrap().unwrap() {
        events.push(event);
    }
    events
}

fn is_end(event: &v1::Event) -> bool {
    let Some(Kind::RunStateChanged(changed)) = &event.kind else {
        return false;
    };
    matches!(
        changed.state(),
        v1::RunState::Completed | v1::RunState::Failed | v1::RunState::Cancelled
    )
}

#[tokio::test]
async fn a_watcher_sees_every_event_once_from_any_cursor_and_then_the_end() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(2, 2)).await;
    let (all, _) = tokio::join!(watch(&world, run, 0), worker.work_on(4));
    let sequences: Vec<_> = all.iter().map(|event| event.sequence).collect();
    assert!(
        sequences.iter().copied().eq(1..=all.len() as u64),
        "{sequences:?}"
    );
    assert!(is_end(all.last().unwrap()));
    assert_eq!(watch(&world, run, 5).await, all[5..]);
    assert_eq!(watch(&world, run, all.len() as u64).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_while_it_is_watched_always_tells_its_end() {
    let world = World::new(Rules::default()).await;
    for _time in 0..30 {
        let run = world.submit(job(1, 1)).await;
        world.until_state(run, RunState::WaitingForWorkers).await;
        let cursor = world.events(run).await.len() as u64;
        let (rest, ()) = tokio::join!(
            watch(&world, run, cursor),
            world.command(run, Command::Cancel)
        );
        assert!(rest.last().is_some_and(is_end), "{rest:?}");
    }
}

/// On one thread: nothing on the way may block it.
#[tokio::test]
async fn a_table_streams_in_and_is_dealt() {
    let world = World::new(Rules::default()).await;
    let mut client = DatasetsClient::new(world.channel.clone());
    let options = ImportOptions {
        name: "e".to_owned(),
        label: "label".to_owned(),
        test_fraction: 0.2,
        seed: 7,
        ..ImportOptions::default()
    };
    let part = |part| ImportDatasetRequest { part: Some(part) };
    let mut parts = vec![part(import_dataset_request::Part::Options(options))];
    for piece in table().as_bytes().chunks(7) {
        let piece = Bytes::copy_from_slice(piece);
        parts.push(part(import_dataset_request::Part::Data(piece)));
    }
    let imported = client.import(futures::stream::iter(parts)).await;
    let dataset = imported.unwrap().into_inner();
    assert_eq!((dataset.train_rows, dataset.test_rows), (48, 12));
    let known = world.study.store.dataset("d").await.unwrap().unwrap();
    let imported = world.study.store.dataset("e").await.unwrap().unwrap();
    assert_eq!(imported.manifest.train, known.manifest.train);
    let request = ShowDatasetRequest {
        name: "e".to_owned(),
        partition: None,
    };
    let shown = client.show(request).await.unwrap().into_inner();
    assert_eq!(shown.dataset, Some(dataset));
    let spooled = std::fs::read_dir(&world.study.spool).unwrap();
    assert_eq!(spooled.count(), 0, "nothing stays in the spool");
}

#[tokio::test]
async fn an_interval_is_not_needed_for_a_run_to_get_on() {
    // Every other test here has an interval of an hour; this one says so.
    let world = World::new(Rules::default()).await;
    assert!(world.study.interval > Duration::from_secs(60));
    let run = world.submit(job(1, 1)).await;
    world.until_state(run, RunState::WaitingForWorkers).await;
    let mut worker = Worker::connect(&world, "w").await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
}
