//! Uploads that survive the end of their connection, and of their process.
//!
//! The bytes so far are a file in `.partial`, named by what they are to become, so the next upload
//! of the same object finds them. An advisory lock keeps two uploads out of one file; the second
//! takes a file of its own, and both end in the same object. What is small is not worth resuming: its
//! bytes wait in memory, and become a file when they are all there.

use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use federation::digest::{Digest, Digester};

use super::files::{self, Until, blocking};
use super::{Place, SMALL, absent_is_none, io_error};
use crate::{BlobError, Key, Upload};

/// Uploads of one object under way at the same time. Two happen, when a task was dispatched again;
/// more than a few are a mistake.
const UPLOADS_AT_ONCE: usize = 16;

/// One object on its way into a local directory.
#[derive(Debug)]
pub(super) struct LocalUpload {
    place: Place,
    key: Key,
    len: u64,
    digest: Digest,
    offset: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The object is in the store already; what is written to it is let go.
    Complete,
    /// All bytes so far, of few.
    Small(Vec<u8>),
    Open(Box<Partial>),
    /// A write failed or was dropped half-way; what reached the disk is there to resume from.
    Broken,
}

#[derive(Debug)]
struct Partial {
    file: File,
    path: PathBuf,
    /// Over all bytes of the file.
    digester: Digester,
}

/// Opens or resumes the upload of `len` bytes of this digest to `key`.
pub(super) async fn begin(
    place: Place,
    key: &Key,
    len: u64,
    digest: Digest,
) -> io::Result<LocalUpload> {
    let upload = open(place, key, len, digest, None).await?;
    upload.ok_or_else(|| {
        let message = format!("{UPLOADS_AT_ONCE} uploads of it are under way");
        io::Error::new(io::ErrorKind::ResourceBusy, message)
    })
}

/// Resumes the upload that goes on at `offset`, if there is one that nobody holds.
pub(super) async fn resume(
    place: Place,
    key: &Key,
    len: u64,
    digest: Digest,
    offset: u64,
) -> io::Result<Option<LocalUpload>> {
    open(place, key, len, digest, Some(offset)).await
}

async fn open(
    place: Place,
    key: &Key,
    len: u64,
    digest: Digest,
    at: Option<u64>,
) -> io::Result<Option<LocalUpload>> {
    let key = key.clone();
    if len <= SMALL {
        return Ok(at.is_none_or(|at| at == 0).then(|| LocalUpload {
            place,
            key,
            len,
            digest,
            offset: 0,
            stage: Stage::Small(Vec::new()),
        }));
    }
    blocking(move || {
        let (offset, stage) = if files::holds(&place.root.join(key.as_str()), len, &digest)? {
            (at.unwrap_or(len), Stage::Complete)
        } else {
            let name = name(&key, len, &digest);
            let Some((file, path)) = open_partial(&place.root, &name, at)? else {
                return Ok(None);
            };
            // Longer than announced can only be the mark of a failing disk.
            if file.metadata()?.len() > len {
                file.set_len(0)?;
            }
            let offset = file.metadata()?.len();
            let digester = files::digest_prefix(&file, offset)?;
            let partial = Partial {
                file,
                path,
                digester,
            };
            (offset, Stage::Open(Box::new(partial)))
        };
        let is_there = at.is_none_or(|at| at == offset);
        Ok(is_there.then_some(LocalUpload {
            place,
            key,
            len,
            digest,
            offset,
            stage,
        }))
    })
    .await
}

/// A file name that stands for these bytes under this key.
fn name(key: &Key, len: u64, digest: &Digest) -> String {
    Digest::of(format!("{key} {len} {digest}").as_bytes()).hex()
}

/// Opens and locks a file for `name` that no other upload holds: the one that got furthest, so that
/// what has arrived is not sent again; a new one, if there is none.
///
/// With an offset, only one that got exactly there. One of another length is not locked even for a
/// moment, for whoever resumes that one would take it for held.
fn open_partial(root: &Path, name: &str, at: Option<u64>) -> io::Result<Option<(File, PathBuf)>> {
    let mut places = Vec::new();
    let mut is_known = true;
    for number in 0..UPLOADS_AT_ONCE {
        let path = files::partial_dir(root).join(format!("{name}.{number}"));
        // Behind a gap there are none, but for what two uploads at once left.
        let there = is_known.then(|| absent_is_none(fs::metadata(&path)));
        let there = there.transpose()?.flatten();
        is_known = there.is_some();
        let len = there.as_ref().map_or(0, fs::Metadata::len);
        if at.is_none_or(|at| at == len) {
            places.push((len, path));
        }
    }
    places.sort_by_key(|(len, _)| Reverse(*len));
    for (_, path) in places {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        match file.try_lock() {
            // Its last holder may have finished, and moved the file away, or written on, before it
            // let go.
            Ok(()) if is_at(&file, &path, at)? => return Ok(Some((file, path))),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether the file is the one at this place, and as long as it should be.
fn is_at(file: &File, path: &Path, len: Option<u64>) -> io::Result<bool> {
    let own = file.metadata()?;
    let there = absent_is_none(fs::metadata(path))?;
    let is_there = there.is_some_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()));
    Ok(is_there && len.is_none_or(|len| len == own.len()))
}

impl LocalUpload {
    fn wrong_length(&self, actual: u64) -> BlobError {
        BlobError::WrongLength {
            key: self.key.clone(),
            expected: self.len,
            actual,
        }
    }

    fn broken(&self) -> BlobError {
        io_error(&self.key)(io::Error::other(
            "a write to this upload failed or was cancelled; begin again to resume",
        ))
    }
}

#[async_trait]
impl Upload for LocalUpload {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if end > self.len {
            return Err(self.wrong_length(end));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let (offset, len) = (self.offset, bytes.len());
        let said = (&self.key, offset, bytes.clone());
        let stage = std::mem::replace(&mut self.stage, Stage::Broken);
        let writing = async {
            match stage {
                Stage::Small(mut all) => {
                    all.extend_from_slice(&bytes);
                    Ok(Stage::Small(all))
                }
                Stage::Open(mut partial) => {
                    let writing = blocking(move || {
                        partial.file.write_all_at(&bytes, offset)?;
                        partial.digester.update(&bytes);
                        Ok(Stage::Open(partial))
                    });
                    writing.await.map_err(self.place.failed(&self.key))
                }
                Stage::Complete => Ok(Stage::Complete),
                Stage::Broken => Err(self.broken()),
            }
        };
        let written = self.place.meter.count("write", &said, writing).await;
        self.stage = written?;
        self.place.meter.count_bytes("write", len);
        self.offset = end;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        let whole = match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Complete => return Ok(()),
            Stage::Broken => return Err(self.broken()),
            Stage::Open(partial) => Whole::File(partial),
            Stage::Small(bytes) => Whole::Bytes(bytes),
        };
        if self.offset != self.len {
            return Err(self.wrong_length(self.offset));
        }
        let actual = whole.digest();
        let failed = self.place.failed(&self.key);
        let place = self.place.clone();
        let meter = place.meter.clone();
        let (key, path) = (self.key.clone(), place.root.join(self.key.as_str()));
        let matches = actual == self.digest;
        let finishing = blocking(move || {
            if !matches {
                return whole.discard();
            }
            // An update can be trained again, and no round waits for the disk because of it.
            let until = match key.is_update() {
                true => Until::Moved,
                false => Until::Settled,
            };
            whole.put_at(&place, &path, until)?;
            place.seen.keep(&key, &path, actual)
        });
        let finished = meter.count("finish", &self.key, finishing).await;
        finished.map_err(failed)?;
        if matches {
            Ok(())
        } else {
            Err(BlobError::DigestMismatch {
                key: self.key.clone(),
                expected: self.digest,
                actual,
            })
        }
    }
}

/// All bytes of an object that is none yet.
enum Whole {
    File(Box<Partial>),
    Bytes(Vec<u8>),
}

impl Whole {
    fn digest(&self) -> Digest {
        match self {
            Self::File(partial) => partial.digester.finish(),
            Self::Bytes(bytes) => Digest::of(bytes),
        }
    }

    fn put_at(self, place: &Place, path: &Path, until: Until) -> io::Result<()> {
        match self {
            Self::File(partial) => files::put_at(place, &partial.file, &partial.path, path, until),
            Self::Bytes(bytes) => files::replace(place, path, &bytes, until),
        }
    }

    fn discard(self) -> io::Result<()> {
        match self {
            Self::File(partial) => fs::remove_file(&partial.path),
            Self::Bytes(_) => Ok(()),
        }
    }
}
