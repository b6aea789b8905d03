//! A store in a local directory.
//!
//! An object is the file of its key under the root. Objects appear by rename, after their bytes
//! reached the disk, so a reader sees all of one or none. `.partial` holds uploads under way; it
//! may be emptied whenever no process uses the store.

pub(crate) mod files;
mod seen;
mod upload;

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use federation::Digest;
use futures::stream::{self, BoxStream, StreamExt};
use seams::Seams;
use thiserror::Error;

use crate::metrics::Meter;
use crate::store::CHUNK_MAX;
use crate::{BlobError, BlobStore, Key, Metrics, Upload};
use files::{Settled, blocking};
use seen::Seen;

pub use files::make_dir;

/// Objects as files under one directory.
#[derive(Debug, Clone)]
pub struct LocalStore(Place);

/// A directory, and what is known of it.
#[derive(Debug, Clone)]
struct Place {
    root: Arc<Path>,
    meter: Meter,
    seen: Arc<Seen>,
    settled: Arc<Settled>,
}

impl Place {
    /// Says of a disk that is full which one it is.
    fn failed(&self, key: &Key) -> impl FnOnce(io::Error) -> BlobError + use<> {
        let (root, failed) = (Arc::clone(&self.root), io_error(key));
        move |error| {
            failed(match error.kind() {
                kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    let message = format!("no room on the disk of {}: {error}", root.display());
                    io::Error::new(kind, message)
                }
                _ => error,
            })
        }
    }
}

/// The directory of a store cannot be used.
#[derive(Debug, Error)]
#[error("the artifact directory {} cannot be written to: {source}", path.display())]
pub struct OpenError {
    /// Which directory.
    pub path: PathBuf,
    /// What the disk said.
    pub source: io::Error,
}

impl LocalStore {
    /// Opens the store under `root`, creating the directory where it is missing, and deletes what an
    /// earlier process left half done. One process at a time may have it open.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when nothing can be written there.
    pub fn open(root: PathBuf) -> Result<Self, OpenError> {
        match files::probe(&root).and_then(|()| files::sweep(&root)) {
            Ok(()) => Ok(Self(Place {
                root: root.into(),
                meter: Meter::default(),
                seen: Arc::default(),
                settled: Arc::default(),
            })),
            Err(source) => Err(OpenError { path: root, source }),
        }
    }

    /// The same store, with all that it does counted from now on.
    #[must_use]
    pub fn counted(self, metrics: Metrics) -> Self {
        let meter = self.0.meter.counted(metrics, "local");
        Self(Place { meter, ..self.0 })
    }

    /// The same store, with all that it does passing through `seams` from now on.
    #[must_use]
    pub fn through(self, seams: Seams) -> Self {
        let meter = self.0.meter.through(seams);
        Self(Place { meter, ..self.0 })
    }

    /// Tries whether files can be written.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when they cannot.
    pub async fn probe(&self) -> Result<(), OpenError> {
        let root = Arc::clone(&self.0.root);
        blocking(move || files::probe(&root))
            .await
            .map_err(|source| OpenError {
                path: self.0.root.to_path_buf(),
                source,
            })
    }

    /// Makes the finished file at `path`, which has this digest, the object of `key`, without copying
    /// it. The file must be on the same file system. It may be lost with power until it is
    /// [settled](Self::settle).
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn adopt(&self, key: &Key, path: PathBuf, digest: Digest) -> Result<(), BlobError> {
        let (place, target) = (self.place(), self.path_of(key));
        let own = key.clone();
        let adopting = blocking(move || {
            files::rename(&place.root, &path, &target)?;
            place.seen.keep(&own, &target, digest)
        });
        let adopted = self.0.meter.count("adopt", key, adopting).await;
        adopted.map_err(self.0.failed(key))
    }

    /// Returns when an object that was [adopted](Self::adopt) is on the disk.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn settle(&self, key: &Key) -> Result<(), BlobError> {
        let (place, path) = (self.place(), self.path_of(key));
        let settling = blocking(move || files::settle(&place, &path));
        let settled = self.0.meter.count("settle", key, settling).await;
        settled.map_err(self.0.failed(key))
    }

    /// The length and the digest of an object, if there is one, and what `more` finds in its file.
    /// The object is read for its digest, unless this process wrote it or looked at it before, and
    /// nobody has written to the file since.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn look<T: Send + 'static>(
        &self,
        key: &Key,
        more: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<Option<(u64, Digest, T)>, BlobError> {
        let (seen, path) = (Arc::clone(&self.0.seen), self.path_of(key));
        let own = key.clone();
        let looking = blocking(move || {
            let Some((len, digest)) = seen.look(&own, &path)? else {
                return Ok(None);
            };
            Ok(Some((len, digest, more(&path)?)))
        });
        looking.await.map_err(io_error(key))
    }

    /// Resumes the upload that goes on at `offset`; none, when there is no such upload, or another
    /// one holds it.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn resume(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Upload>>, BlobError> {
        let resuming = upload::resume(self.place(), key, len, *digest, offset);
        let upload = self
            .0
            .meter
            .count("upload", &(key, len, digest, offset), resuming)
            .await;
        let upload = upload.map_err(self.0.failed(key))?;
        Ok(upload.map(|upload| -> Box<dyn Upload> { Box::new(upload) }))
    }

    /// Where an object's file is, whether or not there is one.
    #[must_use]
    pub fn path_of(&self, key: &Key) -> PathBuf {
        self.0.root.join(key.as_str())
    }

    fn place(&self) -> Place {
        self.0.clone()
    }
}

#[async_trait]
impl BlobStore for LocalStore {
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError> {
        let (place, path) = (self.place(), self.path_of(key));
        let (len, said) = (bytes.len(), (key, bytes.clone()));
        let putting = blocking(move || files::replace(&place, &path, &bytes));
        let put = self.0.meter.count("put", &said, putting).await;
        put.map_err(self.0.failed(key))?;
        self.0.meter.count_bytes("put", len);
        Ok(())
    }

    async fn upload(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<Box<dyn Upload>, BlobError> {
        let beginning = upload::begin(self.place(), key, len, *digest);
        let upload = self
            .0
            .meter
            .count("upload", &(key, len, digest), beginning)
            .await;
        Ok(Box::new(upload.map_err(self.0.failed(key))?))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let path = self.path_of(key);
        let opening = blocking(move || open_object(&path));
        let opened = self.0.meter.count("get", key, opening).await;
        let (file, len) = opened
            .map_err(io_error(key))?
            .ok_or_else(|| BlobError::NotFound { key: key.clone() })?;
        let range = range.unwrap_or(0..len);
        if range.start > range.end || range.end > len {
            return Err(BlobError::RangeOutside {
                key: key.clone(),
                start: range.start,
                end: range.end,
                len,
            });
        }
        Ok(chunks(self.0.meter.clone(), key.clone(), file, range))
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        let path = self.path_of(key);
        let looking = blocking(move || {
            let metadata = absent_is_none(fs::metadata(path))?;
            Ok(metadata
                .filter(fs::Metadata::is_file)
                .map(|file| file.len()))
        });
        let len = self.0.meter.count("head", key, looking).await;
        len.map_err(io_error(key))
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        let path = self.path_of(key);
        let place = self.place();
        let deleting = blocking(move || absent_is_none(files::remove(&place, &path)));
        self.0.seen.forget(key);
        let deleted = self.0.meter.count("delete", key, deleting).await;
        deleted.map(|_removed_or_absent| ()).map_err(io_error(key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        let (root, wanted) = (Arc::clone(&self.0.root), prefix.to_owned());
        let listing = blocking(move || files::keys_under(&root, &wanted));
        let listed = self.0.meter.count("list", &prefix, listing).await;
        listed.map_err(|source| BlobError::List {
            prefix: prefix.to_owned(),
            source,
        })
    }
}

/// Opens an object's file, if there is one. Replacing the object does not touch the open file.
fn open_object(path: &Path) -> io::Result<Option<(File, u64)>> {
    let Some(file) = absent_is_none(File::open(path))? else {
        return Ok(None);
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata.len())))
}

/// Reads `range` of a file chunk by chunk, each when it is asked for.
fn chunks(
    meter: Meter,
    key: Key,
    file: File,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, BlobError>> {
    let file = Arc::new(file);
    stream::try_unfold(range, move |range| {
        let (meter, key, file) = (meter.clone(), key.clone(), Arc::clone(&file));
        async move {
            if range.is_empty() {
                return Ok(None);
            }
            let len = usize::try_from(range.end - range.start).unwrap_or(CHUNK_MAX);
            let len = len.min(CHUNK_MAX);
            let start = range.start;
            let reading = blocking(move || {
                let mut chunk = vec![0; len];
                file.read_exact_at(&mut chunk, start)?;
                Ok(Bytes::from(chunk))
            });
            let chunk = meter.count("read", &(&key, start, len), reading).await;
            let chunk = chunk.map_err(io_error(&key))?;
            meter.count_bytes("read", len);
            Ok(Some((chunk, start + len as u64..range.end)))
        }
    })
    .boxed()
}

/// Turns "there is no such file" into `None`; so is a key that leads through another object.
fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(error),
        },
    }
}

fn io_error(key: &Key) -> impl FnOnce(io::Error) -> BlobError + use<> {
    let key = key.clone();
    |source| BlobError::Io { key, source }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_root_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let root = file.path().join("artifacts");
        let error = LocalStore::open(root.clone()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(root.to_str().unwrap()), "{message}");
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
        let digest = Digest::of(b"pangea");
        let mut upload = store.upload(&key("a"), 6, &digest).await.unwrap();
        upload.write(Bytes::from_static(b"pan")).await.unwrap();
        drop(upload);

        let restarted = LocalStore::open(store.0.root.to_path_buf()).unwrap();
        let mut upload = restarted.upload(&key("a"), 6, &digest).await.unwrap();
        assert_eq!(upload.offset(), 3);
        upload.write(Bytes::from_static(b"gea")).await.unwrap();
        upload.finish().await.unwrap();
        assert_eq!(fs::read(restarted.path_of(&key("a"))).unwrap(), b"pangea");
    }

    #[tokio::test]
    async fn an_upload_resumes_where_its_caller_says_or_not_at_all() {
        let (store, _dir) = store();
        let digest = Digest::of(b"pangea");
        let mut upload = store.upload(&key("a"), 6, &digest).await.unwrap();
        upload.write(Bytes::from_static(b"pan")).await.unwrap();
        let resume = async |offset| {
            let resumed = store.resume(&key("a"), 6, &digest, offset).await;
            resumed.unwrap().map(|upload| upload.offset())
        };
        assert_eq!(resume(3).await, None, "another one holds it");
        drop(upload);
        assert_eq!(resume(0).await, Some(0), "a new one");
        assert_eq!(resume(2).await, None);
        assert_eq!(resume(3).await, Some(3));
    }

    #[tokio::test]
    async fn of_two_broken_uploads_the_one_that_got_further_is_resumed() {
        let (store, _dir) = store();
        let digest = Digest::of(b"pangea");
        let first = store.upload(&key("a"), 6, &digest).await.unwrap();
        let mut second = store.upload(&key("a"), 6, &digest).await.unwrap();
        second.write(Bytes::from_static(b"pan")).await.unwrap();
        drop((first, second));
        let upload = store.upload(&key("a"), 6, &digest).await.unwrap();
        assert_eq!(upload.offset(), 3);
    }

    #[tokio::test]
    async fn an_upload_that_another_one_overtook_ends_in_the_same_object() {
        let (store, _dir) = store();
        let bytes = Bytes::from_static(b"pangea");
        store.put(&key("a"), bytes.clone()).await.unwrap();
        let overtaken = store.resume(&key("a"), 6, &Digest::of(&bytes), 2).await;
        let mut overtaken = overtaken.unwrap().unwrap();
        assert_eq!(overtaken.offset(), 2);
        overtaken.write(bytes.slice(2..)).await.unwrap();
        overtaken.finish().await.unwrap();
        assert_eq!(fs::read(store.path_of(&key("a"))).unwrap(), b"pangea");
    }

    #[tokio::test]
    async fn who_resumes_elsewhere_does_not_take_an_upload_for_a_moment() {
        let (store, _dir) = store();
        let digest = Digest::of(b"pangea");
        let mut upload = store.upload(&key("a"), 6, &digest).await.unwrap();
        upload.write(Bytes::from_static(b"pan")).await.unwrap();
        drop(upload);
        let key = key("a");
        for _time in 0..50 {
            let (elsewhere, here) = tokio::join!(
                store.resume(&key, 6, &digest, 0),
                store.resume(&key, 6, &digest, 3),
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
}
