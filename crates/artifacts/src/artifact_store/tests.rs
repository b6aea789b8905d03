//! The store over S3, through a directory and past it.

mod reading;

use std::fs;

use federation::{ClientId, Digest, RunId, TaskId};
use futures::TryStreamExt;
use futures::future::try_join_all;
use telemetry::metrics::Registry;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::contract::{self, Harness};
use crate::localstack::{self, Proxy, pattern, soon};
use crate::{Expected, Kind, Metrics, S3Place, Swapped};

const RUN: RunId = RunId(Uuid::from_u128(7));

contract::check!(async {
    let remote = localstack::bucket().await?;
    let dir = tempfile::tempdir().unwrap();
    Some(Harness {
        store: Arc::new(over(&dir, &remote)),
        keep: Box::new(dir),
    })
});

/// A bucket that can be got at past whatever is tested.
struct World {
    remote: S3Store,
    endpoint: String,
    place: S3Place,
    metrics: Metrics,
}

impl World {
    async fn new() -> Option<Self> {
        let endpoint = localstack::endpoint()?;
        let place = localstack::place();
        let config = localstack::config(&endpoint);
        let remote = S3Store::open(&config, place.clone()).await.unwrap();
        let metrics = Metrics::register(&Registry::new("test").unwrap()).unwrap();
        Some(Self {
            remote: remote.counted(metrics.clone()),
            endpoint,
            place,
            metrics,
        })
    }

    /// A store whose way to the bucket can be cut.
    async fn behind_a_proxy(&self, dir: &TempDir) -> (ArtifactStore, Proxy) {
        let proxy = Proxy::before(&self.endpoint).await;
        let config = localstack::config(&proxy.endpoint);
        let remote = S3Store::open(&config, self.place.clone()).await.unwrap();
        (over(dir, &remote.counted(self.metrics.clone())), proxy)
    }

    async fn up(&self, key: &Key) -> Option<u64> {
        let head = self.remote.head(key).await.unwrap();
        head.map(|head| head.len)
    }

    fn requests(&self, operation: &str) -> u64 {
        let labels = ["s3", operation];
        self.metrics.requests.with_label_values(&labels).get()
    }
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn over(dir: &TempDir, remote: &S3Store) -> ArtifactStore {
    let local = LocalStore::open(dir.path().to_owned()).unwrap();
    ArtifactStore::on_s3(local, remote.clone())
}

fn task(client: u32) -> TaskId {
    TaskId {
        run: RUN,
        round: 1,
        client: ClientId(client),
        attempt: 1,
    }
}

fn update(client: u32) -> Key {
    Key::update(&task(client), 1)
}

fn record() -> Key {
    Key::checkpoint_manifest(RUN, 1)
}

fn text(bytes: &'static str) -> Bytes {
    Bytes::from_static(bytes.as_bytes())
}

async fn read(store: &ArtifactStore, key: &Key) -> Bytes {
    try_read(store, key).await.unwrap()
}

async fn try_read(store: &ArtifactStore, key: &Key) -> Result<Bytes, BlobError> {
    let chunks: Vec<Bytes> = store.get(key, None).await?.try_collect().await?;
    Ok(chunks.concat().into())
}

async fn send(store: &ArtifactStore, key: &Key, bytes: &Bytes) -> Result<(), BlobError> {
    let len = bytes.len() as u64;
    let mut upload = store.upload(key, len, &Digest::of(bytes)).await?;
    let rest = usize::try_from(upload.offset()).unwrap();
    upload.write(bytes.slice(rest..)).await?;
    upload.finish().await
}

fn finished_file(dir: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join("FINISHED");
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test]
async fn all_but_updates_is_on_s3_when_the_write_returns() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let store = over(&dir, &world.remote);
    let bytes = pattern(100);
    let model = Key::content(Kind::Model, &Digest::of(&bytes));
    let checkpoint = Key::checkpoint_model(RUN, 1, &Digest::of(b"model"));

    store.put(&record(), text("1")).await.unwrap();
    assert_eq!(world.up(&record()).await, Some(1));
    send(&store, &model, &bytes).await.unwrap();
    assert_eq!(world.up(&model).await, Some(100));
    let file = finished_file(&dir, &bytes);
    store
        .adopt(&checkpoint, file.clone(), Digest::of(&bytes))
        .await
        .unwrap();
    assert!(!file.exists());
    assert_eq!(read(&store, &checkpoint).await, bytes);
    store.settle(&checkpoint).await.unwrap();
    assert_eq!(world.up(&checkpoint).await, Some(100));

    let before = world.requests("read");
    for key in [&model, &checkpoint] {
        assert_eq!(read(&store, key).await, bytes);
        let copy = store.local_copy(key).await.unwrap();
        assert_eq!(fs::read(copy).unwrap(), bytes);
    }
    assert_eq!(world.requests("read"), before, "the directory has them");
}

#[tokio::test]
async fn what_is_up_already_is_not_sent_again() {
    let Some(world) = World::new().await else {
        return;
    };
    let bytes = pattern(100);
    let model = Key::content(Kind::Model, &Digest::of(&bytes));
    send(&over(&dir(), &world.remote), &model, &bytes)
        .await
        .unwrap();
    let before = world.requests("put");
    send(&over(&dir(), &world.remote), &model, &bytes)
        .await
        .unwrap();
    assert_eq!(world.requests("put"), before);
}

#[tokio::test]
async fn updates_go_up_behind_their_writes() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let store = over(&dir, &world.remote);
    store.put(&update(1), text("one")).await.unwrap();
    send(&store, &update(2), &text("two")).await.unwrap();
    let file = finished_file(&dir, b"three");
    store
        .adopt(&update(3), file, Digest::of(b"three"))
        .await
        .unwrap();
    soon(store.drain()).await;
    let listed = world.remote.list("").await.unwrap();
    assert_eq!(listed, [update(1), update(2), update(3)]);
    assert_eq!(world.up(&update(3)).await, Some(5));
}

#[tokio::test]
async fn while_s3_is_away_updates_wait_and_nothing_else_is_taken() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let (store, proxy) = world.behind_a_proxy(&dir).await;
    store.put(&record(), text("1")).await.unwrap();
    soon(store.drain()).await;
    proxy.cut();

    let file = finished_file(&dir, b"model");
    let digest = Digest::of(b"model");
    let model = Key::checkpoint_model(RUN, 2, &digest);
    store.adopt(&model, file, digest).await.unwrap();
    for refused in [
        store.put(&record(), text("2")).await,
        send(&store, &Key::checkpoint_manifest(RUN, 2), &text("{}")).await,
        store.settle(&model).await,
    ] {
        assert!(
            matches!(refused, Err(BlobError::Unavailable { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(read(&store, &model).await, "model");
    store.put(&update(1), text("one")).await.unwrap();
    send(&store, &update(2), &text("two")).await.unwrap();
    assert_eq!(read(&store, &update(1)).await, "one");
    assert_eq!(world.up(&update(1)).await, None);
    soon(async {
        while world.metrics.waiting.get() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    proxy.mend();
    soon(store.drain()).await;
    assert_eq!(world.up(&update(1)).await, Some(3));
    assert_eq!(world.up(&update(2)).await, Some(3));
    assert_eq!(
        read(&store, &record()).await,
        "1",
        "what was refused is not there"
    );
    let manifest = Key::checkpoint_manifest(RUN, 2);
    assert_eq!(store.head(&manifest).await.unwrap(), None);
    let missing = try_read(&store, &manifest).await;
    assert!(matches!(missing, Err(BlobError::NotFound { .. })));
    store.settle(&model).await.unwrap();
    soon(async {
        while world.metrics.waiting.get() != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_waited_when_a_process_died_goes_up_after_the_next_start() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let (store, proxy) = world.behind_a_proxy(&dir).await;
    store.put(&update(1), text("one")).await.unwrap();
    soon(store.drain()).await;
    proxy.cut();
    store.put(&update(2), text("two")).await.unwrap();
    drop(store);

    let before = world.requests("put");
    let store = over(&dir, &world.remote);
    soon(store.drain()).await;
    assert_eq!(world.up(&update(2)).await, Some(3));
    assert_eq!(world.requests("put"), before + 1, "the other one was up");
}

#[tokio::test]
async fn a_bundle_goes_up_when_it_is_closed_and_one_that_nobody_closed_after_the_next_start() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let store = over(&dir, &world.remote);
    soon(store.drain()).await;
    let bundle = Key::bundle(&task(1), 1);
    assert_eq!(store.append(&bundle, &[text("one")]).await.unwrap(), 0);
    soon(store.drain()).await;
    assert_eq!(world.up(&bundle).await, None);
    assert_eq!(read(&store, &bundle).await, "one");
    store.close_bundle(&bundle);
    soon(store.drain()).await;
    assert_eq!(world.up(&bundle).await, Some(3));

    let parts = [text("two"), text("more")];
    assert_eq!(store.append(&bundle, &parts).await.unwrap(), 3);
    let other = Key::bundle(&task(2), 1);
    store.append(&other, &[text("left")]).await.unwrap();
    store.close_bundle(&bundle);
    drop(store);
    let store = over(&dir, &world.remote);
    store.close_bundle(&bundle);
    soon(store.drain()).await;
    assert_eq!(world.up(&bundle).await, Some(10));
    assert_eq!(world.up(&other).await, Some(4));

    // Another process, whose directory is empty, finds the parts.
    let empty = self::dir();
    let elsewhere = over(&empty, &world.remote);
    let found = elsewhere.look_within(&bundle, vec![(3, 3), (6, 5)]).await;
    assert_eq!(found.unwrap(), [Some(Digest::of(b"two")), None]);
}

#[tokio::test]
async fn a_bucket_that_lost_everything_ends_no_round() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let store = over(&dir, &world.remote);
    let model = Key::checkpoint_model(RUN, 1, &Digest::of(b"model"));
    store.put(&model, text("model")).await.unwrap();
    store.put(&update(1), text("one")).await.unwrap();
    soon(store.drain()).await;
    world.remote.lose_bucket().await;

    assert_eq!(read(&store, &update(1)).await, "one");
    assert_eq!(read(&store, &model).await, "model");
    store.put(&update(2), text("two")).await.unwrap();
    store.put(&record(), text("2")).await.unwrap();
    soon(store.drain()).await;
    let here = store.list(&Key::rounds_prefix(RUN)).await.unwrap();
    assert_eq!(here, [update(1), update(2)]);
    drop(store);

    let store = over(&dir, &world.remote);
    soon(store.drain()).await;
    assert_eq!(world.up(&update(1)).await, Some(3), "sent again");
}

#[tokio::test]
async fn a_deleted_object_is_nowhere() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let (store, proxy) = world.behind_a_proxy(&dir).await;
    store.put(&record(), text("1")).await.unwrap();
    store.put(&update(1), text("one")).await.unwrap();
    soon(store.drain()).await;
    proxy.cut();
    store.put(&update(2), text("two")).await.unwrap();
    for key in [record(), update(1), update(2)] {
        // It is to be tried again.
        store.delete(&key).await.unwrap_err();
    }
    proxy.mend();
    for key in [record(), update(1), update(2)] {
        store.delete(&key).await.unwrap();
    }
    soon(store.drain()).await;
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(world.remote.list("").await.unwrap(), []);
    let left = LocalStore::open(dir.path().to_owned()).unwrap();
    assert_eq!(left.list("").await.unwrap(), []);
}

#[tokio::test]
async fn an_update_that_is_deleted_on_its_way_up_does_not_come_back() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let (store, proxy) = world.behind_a_proxy(&dir).await;
    soon(store.drain()).await;
    proxy.cut();
    proxy.mend();
    proxy.hold();
    store.put(&update(1), text("one")).await.unwrap();
    soon(async {
        while proxy.held() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Deleted by this directory's owner, and on S3 before the update arrives there.
    fs::remove_file(store.path_of(&update(1))).unwrap();
    world.remote.delete(&update(1)).await.unwrap();
    proxy.let_go();
    soon(store.drain()).await;
    assert_eq!(world.up(&update(1)).await, None);
}

#[tokio::test]
async fn a_probe_tells_that_the_bucket_does_not_answer() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let (store, proxy) = world.behind_a_proxy(&dir).await;
    store.probe().await.unwrap();
    proxy.cut();
    let refused = store.probe().await.unwrap_err();
    assert!(
        matches!(refused, ProbeError::Bucket(S3OpenError::Unreachable { .. })),
        "{refused}"
    );
}

async fn one_of_two_wins(store: &ArtifactStore) {
    let swap = async |bytes, expected: &Expected| {
        store.swap(&record(), text(bytes), expected).await.unwrap()
    };
    assert_eq!(store.read_version(&record()).await.unwrap(), None);
    let first = swap("1", &Expected::Absent).await;
    let (bytes, version) = store.read_version(&record()).await.unwrap().unwrap();
    assert_eq!(bytes, "1");
    assert_eq!(first, Swapped::Written(version.clone()));
    assert_eq!(swap("2", &Expected::Absent).await, Swapped::Lost);
    assert_eq!(read(store, &record()).await, "1");
    let first = Expected::Version(version);
    assert!(matches!(swap("2", &first).await, Swapped::Written(_)));
    assert_eq!(swap("3", &first).await, Swapped::Lost);
    assert_eq!(read(store, &record()).await, "2");
}

#[tokio::test]
async fn of_two_who_expect_the_same_one_writes_to_s3() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    one_of_two_wins(&over(&dir, &world.remote)).await;
}

#[tokio::test]
async fn of_two_who_expect_the_same_one_writes_to_a_directory() {
    let dir = dir();
    let local = LocalStore::open(dir.path().to_owned()).unwrap();
    one_of_two_wins(&ArtifactStore::local(local)).await;
}
