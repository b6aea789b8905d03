//! A store in a local directory.
//!
//! An object is the file of its key under the root. Objects appear by rename, after their bytes
//! reached the disk, so a reader sees all of one or none. `.partial` holds uploads under way; it
//! may be emptied whenever no process uses the store.

pub(crate) mod files;
mod seen;
#[cfg(test)]
mod tests;
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
use files::{Settled, Until, blocking};
use seen::Seen;

pub use files::make_dir;

/// Longest object whose bytes wait in memory until they are all there, and whose file is read without a
/// thread of its own: to hand it over takes longer than to read it from the system's memory.
const SMALL: u64 = 64 * 1024;

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
    /// Reads what belongs to an object: here, where it is at hand, and else on a thread that may block.
    async fn reading<T: Send + 'static>(
        &self,
        key: &Key,
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if self.seen.is_at_hand(key) {
            return read();
        }
        blocking(read).await
    }

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

    /// Writes `parts` behind what the object of `key` holds, which it makes where there is none; says
    /// where the first of them begins. They are seen by all who look, and a power cut may take them.
    /// What a failure left half written is no part.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn append(&self, key: &Key, parts: &[Bytes]) -> Result<u64, BlobError> {
        let (place, path) = (self.place(), self.path_of(key));
        let (said, bytes) = ((key, parts), parts.concat());
        let len = bytes.len();
        let appending = blocking(move || files::append(&place.root, &path, &bytes));
        let appended = self.0.meter.count("append", &said, appending).await;
        let offset = appended.map_err(self.0.failed(key))?;
        self.0.meter.count_bytes("append", len);
        Ok(offset)
    }

    /// The digests of the `parts` of an object, each from a byte for so many; none of one that is not
    /// there. Each is read.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn look_within(
        &self,
        key: &Key,
        parts: Vec<(u64, u64)>,
    ) -> Result<Vec<Option<Digest>>, BlobError> {
        let path = self.path_of(key);
        let looking = move || {
            let Some((file, len)) = open_object(&path)? else {
                return Ok(vec![None; parts.len()]);
            };
            let digest = |(offset, part)| files::digest_within(&file, len, offset, part);
            parts.into_iter().map(digest).collect()
        };
        blocking(looking).await.map_err(io_error(key))
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
        let looking = move || {
            let Some((len, digest)) = seen.look(&own, &path)? else {
                return Ok(None);
            };
            Ok(Some((len, digest, more(&path)?)))
        };
        self.0.reading(key, looking).await.map_err(io_error(key))
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
        let putting = blocking(move || files::replace(&place, &path, &bytes, Until::Settled));
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
        let opening = self.0.reading(key, move || open_object(&path));
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
        Ok(chunks(self.place(), key.clone(), file, range))
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        let path = self.path_of(key);
        let looking = move || {
            let metadata = absent_is_none(fs::metadata(path))?;
            Ok(metadata
                .filter(fs::Metadata::is_file)
                .map(|file| file.len()))
        };
        let looking = self.0.reading(key, looking);
        let len = self.0.meter.count("head", key, looking).await;
        len.map_err(io_error(key))
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.delete_all(std::slice::from_ref(key)).await
    }

    async fn delete_all(&self, keys: &[Key]) -> Result<(), BlobError> {
        let Some(first) = keys.first() else {
            return Ok(());
        };
        for key in keys {
            self.0.seen.forget(key);
        }
        let paths: Vec<_> = keys.iter().map(|key| self.path_of(key)).collect();
        let place = self.place();
        let deleting = blocking(move || files::remove(&place, &paths));
        let deleted = self.0.meter.count("delete", &keys, deleting).await;
        deleted.map_err(io_error(first))
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
    place: Place,
    key: Key,
    file: File,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, BlobError>> {
    let file = Arc::new(file);
    stream::try_unfold(range, move |range| {
        let (place, key, file) = (place.clone(), key.clone(), Arc::clone(&file));
        async move {
            if range.is_empty() {
                return Ok(None);
            }
            let len = usize::try_from(range.end - range.start).unwrap_or(CHUNK_MAX);
            let len = len.min(CHUNK_MAX);
            let start = range.start;
            let reading = place.reading(&key, move || {
                let mut chunk = vec![0; len];
                file.read_exact_at(&mut chunk, start)?;
                Ok(Bytes::from(chunk))
            });
            let meter = &place.meter;
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
