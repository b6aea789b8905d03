//! What is particular to a directory, beside what every store promises.

use super::*;
use crate::contract::{self, Harness};

#[test]
fn a_disk_that_is_full_is_named() {
    let (store, dir) = store();
    let key = "models/a".parse().unwrap();
    let full = io::Error::from_raw_os_error(28);
    let told = store.place().failed(&key)(full).to_string();
    let root = dir.path().join("artifacts");
    let expected = format!("no room on the disk of {}: No space left", root.display());
    assert!(told.contains(&expected), "{told}");
}

fn store() -> (LocalStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path().join("artifacts")).unwrap();
    (store, dir)
}

contract::check!(async {
    let (store, dir) = store();
    Harness {
        store: Arc::new(store),
        keep: Box::new(dir),
    }
});

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Too long to wait in memory for its end.
const LONG: u64 = 100_000;

fn long() -> (Bytes, Digest) {
    let bytes: Bytes = (0..LONG).map(|at| (at % 251) as u8).collect();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

#[test]
fn a_root_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let root = file.path().join("artifacts");
    let error = LocalStore::open(root.clone()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(root.to_str().unwrap()), "{message}");
}

#[tokio::test]
async fn what_is_appended_stands_behind_what_was_there() {
    let (store, dir) = store();
    let bundle = key("runs/r/rounds/00001.a.bundle");
    let parts = ["one", "three"].map(Bytes::from);
    assert_eq!(store.append(&bundle, &parts).await.unwrap(), 0);
    assert_eq!(store.append(&bundle, &parts[..1]).await.unwrap(), 8);
    // Whoever comes after a process that died half-way.
    let path = store.path_of(&bundle);
    let mut left = std::fs::read(&path).unwrap();
    left.extend(b"ha");
    std::fs::write(&path, left).unwrap();
    let store = LocalStore::open(dir.path().join("artifacts")).unwrap();
    assert_eq!(store.append(&bundle, &parts[1..]).await.unwrap(), 13);

    let parts = vec![(0, 3), (3, 5), (8, 3), (13, 5), (17, 2), (u64::MAX, 2)];
    let found = store.look_within(&bundle, parts).await.unwrap();
    let [one, three] = [b"one".as_slice(), b"three"].map(|part| Some(Digest::of(part)));
    assert_eq!(found, [one, three, one, three, None, None]);
    let nowhere = store.look_within(&key("a"), vec![(0, 0)]).await.unwrap();
    assert_eq!(nowhere, [None]);
}

#[tokio::test]
async fn what_a_store_does_is_counted_by_operation() {
    let (store, _dir) = store();
    let registry = telemetry::metrics::Registry::new("test").unwrap();
    let metrics = Metrics::register(&registry).unwrap();
    let store = store.counted(metrics.clone());
    let bytes = Bytes::from_static(b"pangea");
    store.put(&key("a"), bytes.clone()).await.unwrap();
    let mut upload = store
        .upload(&key("b"), 6, &Digest::of(&bytes))
        .await
        .unwrap();
    upload.write(bytes).await.unwrap();
    upload.finish().await.unwrap();
    let chunks = store.get(&key("b"), Some(2..6)).await.unwrap();
    chunks
        .for_each(|chunk| async { drop(chunk.unwrap()) })
        .await;
    // That there is no such object is an answer.
    assert!(store.get(&key("c"), None).await.is_err());
    store.head(&key("a")).await.unwrap();
    store.delete(&key("a")).await.unwrap();
    // No directory can be where an object is.
    assert!(store.put(&key("b/c"), Bytes::new()).await.is_err());
    store.list("").await.unwrap();

    let counted = |operation| {
        metrics
            .requests
            .with_label_values(&["local", operation])
            .get()
    };
    let all = [
        "put", "upload", "write", "finish", "get", "read", "head", "delete", "list",
    ];
    assert_eq!(all.map(counted), [2, 1, 1, 1, 2, 1, 1, 1, 1]);
    let moved = |operation| metrics.bytes.with_label_values(&["local", operation]).get();
    assert_eq!(["put", "write", "read"].map(moved), [6, 6, 4]);
    let failed = |operation| {
        metrics
            .errors
            .with_label_values(&["local", operation])
            .get()
    };
    assert_eq!(["put", "get", "write"].map(failed), [1, 0, 0]);
    assert_eq!(metrics.seconds.with(&["local", "finish"]).count(), 1);
}

#[tokio::test]
async fn a_probe_tells_that_nothing_can_be_written() {
    let (store, dir) = store();
    store.probe().await.unwrap();
    let root = dir.path().join("artifacts");
    fs::remove_dir_all(&root).unwrap();
    fs::write(&root, "a file in its place").unwrap();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(error.contains("artifacts"), "{error}");
}

#[tokio::test]
async fn an_upload_resumes_after_a_restart() {
    let (store, _dir) = store();
    let (bytes, digest) = long();
    let mut upload = store.upload(&key("a"), LONG, &digest).await.unwrap();
    upload.write(bytes.slice(..3)).await.unwrap();
    drop(upload);

    let restarted = LocalStore::open(store.0.root.to_path_buf()).unwrap();
    let mut upload = restarted.upload(&key("a"), LONG, &digest).await.unwrap();
    assert_eq!(upload.offset(), 3);
    upload.write(bytes.slice(3..)).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(fs::read(restarted.path_of(&key("a"))).unwrap(), bytes);
}

#[tokio::test]
async fn an_upload_resumes_where_its_caller_says_or_not_at_all() {
    let (store, _dir) = store();
    let (bytes, digest) = long();
    let mut upload = store.upload(&key("a"), LONG, &digest).await.unwrap();
    upload.write(bytes.slice(..3)).await.unwrap();
    let resume = async |offset| {
        let resumed = store.resume(&key("a"), LONG, &digest, offset).await;
        resumed.unwrap().map(|upload| upload.offset())
    };
    assert_eq!(resume(3).await, None, "another one holds it");
    drop(upload);
    assert_eq!(resume(0).await, Some(0), "a new one");
    assert_eq!(resume(2).await, None);
    assert_eq!(resume(3).await, Some(3));
}

#[tokio::test]
async fn a_small_upload_that_broke_begins_anew_and_leaves_nothing() {
    let (store, _dir) = store();
    let digest = Digest::of(b"pangea");
    let resume = async |offset| store.resume(&key("a"), 6, &digest, offset).await.unwrap();
    let mut upload = resume(0).await.unwrap();
    upload.write(Bytes::from_static(b"pan")).await.unwrap();
    drop(upload);
    assert!(resume(3).await.is_none());
    let left = fs::read_dir(store.0.root.join(".partial")).unwrap().count();
    assert_eq!(left, 0);
    let mut upload = store.upload(&key("a"), 6, &digest).await.unwrap();
    assert_eq!(upload.offset(), 0);
    upload.write(Bytes::from_static(b"pangea")).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(fs::read(store.path_of(&key("a"))).unwrap(), b"pangea");
}

#[tokio::test]
async fn objects_are_deleted_together_and_their_directories_with_them() {
    let (store, _dir) = store();
    let keys = ["a/b/1", "a/b/2", "c/1", "c/2"].map(key);
    for key in &keys {
        store.put(key, Bytes::from_static(b"1")).await.unwrap();
    }
    let gone = [key("a/b/1"), key("missing/1"), key("a/b/2"), key("c/1")];
    store.delete_all(&gone).await.unwrap();
    assert_eq!(store.list("").await.unwrap(), [key("c/2")]);
    assert!(!store.0.root.join("a").exists());
    assert!(store.head(&key("a/b/1")).await.unwrap().is_none());
}

#[tokio::test]
async fn of_two_broken_uploads_the_one_that_got_further_is_resumed() {
    let (store, _dir) = store();
    let (bytes, digest) = long();
    let first = store.upload(&key("a"), LONG, &digest).await.unwrap();
    let mut second = store.upload(&key("a"), LONG, &digest).await.unwrap();
    second.write(bytes.slice(..3)).await.unwrap();
    drop((first, second));
    let upload = store.upload(&key("a"), LONG, &digest).await.unwrap();
    assert_eq!(upload.offset(), 3);
}

#[tokio::test]
async fn an_upload_that_another_one_overtook_ends_in_the_same_object() {
    let (store, _dir) = store();
    let (bytes, digest) = long();
    store.put(&key("a"), bytes.clone()).await.unwrap();
    let overtaken = store.resume(&key("a"), LONG, &digest, 2).await;
    let mut overtaken = overtaken.unwrap().unwrap();
    assert_eq!(overtaken.offset(), 2);
    overtaken.write(bytes.slice(2..)).await.unwrap();
    overtaken.finish().await.unwrap();
    assert_eq!(fs::read(store.path_of(&key("a"))).unwrap(), bytes);
}

#[tokio::test]
async fn who_resumes_elsewhere_does_not_take_an_upload_for_a_moment() {
    let (store, _dir) = store();
    let (bytes, digest) = long();
    let mut upload = store.upload(&key("a"), LONG, &digest).await.unwrap();
    upload.write(bytes.slice(..3)).await.unwrap();
    drop(upload);
    let key = key("a");
    for _time in 0..50 {
        let (elsewhere, here) = tokio::join!(
            store.resume(&key, LONG, &digest, 0),
            store.resume(&key, LONG, &digest, 3),
        );
        assert!(elsewhere.unwrap().is_some() && here.unwrap().is_some());
    }
}

#[tokio::test]
async fn what_was_being_put_when_a_process_died_is_gone_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(LocalStore::open(dir.path().to_owned()).unwrap());
    let left = dir.path().join(".partial/put-1-0");
    let upload = dir.path().join(".partial/0123");
    std::fs::write(&left, b"half").unwrap();
    std::fs::write(&upload, b"half").unwrap();
    drop(LocalStore::open(dir.path().to_owned()).unwrap());
    assert!(!left.exists());
    assert!(upload.exists(), "an upload can be gone on with");
    let long_ago = std::time::UNIX_EPOCH;
    std::fs::File::options()
        .write(true)
        .open(&upload)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    drop(LocalStore::open(dir.path().to_owned()).unwrap());
    assert!(!upload.exists());
}

#[tokio::test]
async fn nothing_stays_in_partial_once_all_is_done() {
    let (store, _dir) = store();
    store
        .put(&key("a/b"), Bytes::from_static(b"1"))
        .await
        .unwrap();
    let upload = store.upload(&key("c"), 0, &Digest::of(b"")).await.unwrap();
    upload.finish().await.unwrap();
    let left = fs::read_dir(store.0.root.join(".partial")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn foreign_files_and_partial_uploads_are_not_listed() {
    let (store, _dir) = store();
    store.put(&key("a/b"), Bytes::new()).await.unwrap();
    fs::write(store.0.root.join("README.TXT"), "not an object").unwrap();
    let upload = store.upload(&key("c"), 1, &Digest::of(b"x")).await.unwrap();
    drop(upload);
    assert_eq!(store.list("").await.unwrap(), [key("a/b")]);
    assert_eq!(store.list("../").await.unwrap(), []);
}

#[tokio::test]
async fn a_reader_keeps_the_object_it_opened() {
    let (store, _dir) = store();
    store
        .put(&key("a"), Bytes::from_static(b"old"))
        .await
        .unwrap();
    let mut reader = store.get(&key("a"), None).await.unwrap();
    store
        .put(&key("a"), Bytes::from_static(b"new"))
        .await
        .unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "old");
}
