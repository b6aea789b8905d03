//! The store of a house: a local directory, alone or in front of S3.
//!
//! With S3 behind it,
//!
//! - a manifest, a model, a shard or a data set is on S3 when its write returns, and in the
//!   directory too; a checkpoint when it is settled, and until then in the directory;
//! - an update is in the directory when its write returns, and goes up in the background: it can be
//!   trained again, so no round waits for S3 because of it. While S3 is away updates wait, on the
//!   disk; what waits when the process dies goes up after the next start. Small updates are written
//!   one behind the other into a bundle, which goes up when it is closed;
//! - an upload arrives in the directory, where it resumes at the byte and is verified, and goes up
//!   as a whole;
//! - a read is answered from the directory, to which the whole object is brought first where it is
//!   missing, once for all who wait for it. So an object's first reader waits for all of it.
//!
//! S3 has the word on what there is. A file in the directory stands for an object when it was seen
//! to have the digest that S3 knows, once in the life of a process, or until [`revalidate`]; only
//! updates, whose keys nobody writes twice, need no such look. Who finds an object neither on S3 nor
//! among the waiting updates is told that there is none, even if a file has its name.
//!
//! The directory is not bounded: what is brought there stays until its object is deleted.
//!
//! [`revalidate`]: ArtifactStore::revalidate

mod behind;
mod copies;
mod sending;
mod swap;
#[cfg(test)]
mod tests;
mod upload;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use federation::Digest;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use thiserror::Error;

use crate::{BlobError, BlobStore, Key, LocalStore, OpenError, S3OpenError, S3Store, Upload};
use behind::Behind;
use copies::Locks;
use upload::Arriving;

/// Objects that are deleted at one time: on S3 each takes a trip.
const DELETIONS: usize = 16;

/// Objects in a local directory, or on S3 behind one.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    local: LocalStore,
    behind: Option<Arc<Behind>>,
    /// For conditional writes to the directory alone.
    locks: Arc<Locks>,
}

/// Why a store would not work.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Nothing can be written to the directory.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] S3OpenError),
}

impl ArtifactStore {
    /// A store in a directory alone.
    #[must_use]
    pub fn local(local: LocalStore) -> Self {
        Self {
            local,
            behind: None,
            locks: Arc::default(),
        }
    }

    /// A store on S3, behind a directory that no other process uses. Sends up the updates that an
    /// earlier process left, from now on.
    #[must_use]
    pub fn on_s3(local: LocalStore, remote: S3Store) -> Self {
        let behind = Behind::new(local.clone(), remote);
        Self {
            local,
            behind: Some(Arc::new(behind)),
            locks: Arc::default(),
        }
    }

    /// Tries whether files can be written and the bucket answers.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] when one of them does not.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        self.local.probe().await?;
        if let Some(behind) = &self.behind {
            behind.remote.probe().await?;
        }
        Ok(())
    }

    /// Makes the finished file at `path`, which has this digest, the object of `key`, without copying
    /// it. The file must be on the directory's file system. When it fails, the file is still there.
    ///
    /// Whoever reads the object gets it from now on. It is kept for good, on the disk and on S3, when
    /// it is [settled](Self::settle).
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn adopt(&self, key: &Key, path: PathBuf, digest: Digest) -> Result<(), BlobError> {
        match &self.behind {
            None => self.local.adopt(key, path, digest).await,
            Some(behind) => behind.adopt(key, path, digest).await,
        }
    }

    /// Returns when an object that was [adopted](Self::adopt) is kept for good.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`], [`BlobError::NotFound`] and [`BlobError::Unavailable`].
    pub async fn settle(&self, key: &Key) -> Result<(), BlobError> {
        self.local.settle(key).await?;
        match &self.behind {
            None => Ok(()),
            Some(behind) => Box::pin(behind.settle(key)).await,
        }
    }

    /// The length and the digest of an object, if there is one, and what `more` finds in its file.
    /// The object is read for its digest, unless this process wrote it or looked at it before, and
    /// nobody has written to its file since.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`] and [`BlobError::Unavailable`].
    pub async fn look<T: Send + 'static>(
        &self,
        key: &Key,
        more: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<Option<(u64, Digest, T)>, BlobError> {
        if let Some(behind) = &self.behind {
            match Box::pin(behind.bring(key)).await {
                Err(BlobError::NotFound { .. }) => return Ok(None),
                brought => brought?,
            }
        }
        self.local.look(key, more).await
    }

    /// Looks whether an object is what it should be.
    ///
    /// # Errors
    ///
    /// [`BlobError::NotFound`], [`BlobError::WrongLength`] and [`BlobError::DigestMismatch`] when it
    /// is not, and what the store says.
    pub async fn verify(&self, key: &Key, len: u64, digest: &Digest) -> Result<(), BlobError> {
        let key = key.clone();
        match self.look(&key, |_| Ok(())).await? {
            None => Err(BlobError::NotFound { key }),
            Some((actual, ..)) if actual != len => Err(BlobError::WrongLength {
                key,
                expected: len,
                actual,
            }),
            Some((_, actual, ())) if actual != *digest => Err(BlobError::DigestMismatch {
                key,
                expected: *digest,
                actual,
            }),
            Some(_) => Ok(()),
        }
    }

    /// Writes `parts`, updates, behind those that the bundle of `key` holds, and says where the first of
    /// them begins. The bundle is in the directory alone until it is [closed](Self::close_bundle).
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`].
    pub async fn append(&self, key: &Key, parts: &[Bytes]) -> Result<u64, BlobError> {
        self.local.append(key, parts).await
    }

    /// Has a bundle to which nothing is appended any more go up in the background. One that nobody
    /// closes does after the next start.
    pub fn close_bundle(&self, key: &Key) {
        if let Some(behind) = &self.behind {
            behind.sending.add(key);
        }
    }

    /// The digests of the `parts` of an object, each from a byte for so many; none of one that is not
    /// there. Each is read.
    ///
    /// # Errors
    ///
    /// [`BlobError::Io`] and [`BlobError::Unavailable`].
    pub async fn look_within(
        &self,
        key: &Key,
        parts: Vec<(u64, u64)>,
    ) -> Result<Vec<Option<Digest>>, BlobError> {
        if let Some(behind) = &self.behind {
            match Box::pin(behind.bring(key)).await {
                Err(BlobError::NotFound { .. }) => return Ok(vec![None; parts.len()]),
                brought => brought?,
            }
        }
        self.local.look_within(key, parts).await
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
        let resumed = self.local.resume(key, len, digest, offset).await?;
        Ok(resumed.map(|upload| self.arriving(upload, key, len, digest)))
    }

    /// Where an object's file is in the directory, whether or not there is one.
    #[must_use]
    pub fn path_of(&self, key: &Key) -> PathBuf {
        self.local.path_of(key)
    }

    /// The file of an object, which is brought to the directory where it is missing and on S3. It stays
    /// there until the object is replaced or deleted. Without S3 it is left to who opens it to find that
    /// there is none.
    ///
    /// # Errors
    ///
    /// [`BlobError::NotFound`], [`BlobError::Io`], [`BlobError::Unavailable`], and
    /// [`BlobError::DigestMismatch`] when what S3 gives is not what was put there.
    pub async fn local_copy(&self, key: &Key) -> Result<PathBuf, BlobError> {
        if let Some(behind) = &self.behind {
            Box::pin(behind.bring(key)).await?;
        }
        Ok(self.path_of(key))
    }

    /// Forgets which files are what S3 has: the next read of each asks. To be called when another
    /// process may have written, as when this one takes the lead from it.
    pub fn revalidate(&self) {
        if let Some(behind) = &self.behind {
            behind.copies.forget_all();
        }
    }

    /// Waits until no update waits to go up. While S3 is away that does not end, so the caller says
    /// for how long.
    pub async fn drain(&self) {
        if let Some(behind) = &self.behind {
            behind.sending.drain().await;
        }
    }

    fn arriving(
        &self,
        upload: Box<dyn Upload>,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Box<dyn Upload> {
        match &self.behind {
            None => upload,
            Some(behind) => Box::new(Arriving {
                behind: Arc::clone(behind),
                upload,
                key: key.clone(),
                len,
                digest: *digest,
            }),
        }
    }
}

#[async_trait]
impl BlobStore for ArtifactStore {
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError> {
        match &self.behind {
            None => self.local.put(key, bytes).await,
            Some(behind) => behind.put(key, bytes).await,
        }
    }

    async fn upload(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<Box<dyn Upload>, BlobError> {
        let upload = self.local.upload(key, len, digest).await?;
        Ok(self.arriving(upload, key, len, digest))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        if let Some(behind) = &self.behind {
            behind.bring(key).await?;
        }
        self.local.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        match &self.behind {
            None => self.local.head(key).await,
            Some(behind) => behind.head(key).await,
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        match &self.behind {
            None => self.local.delete(key).await,
            Some(behind) => behind.delete(key).await,
        }
    }

    async fn delete_all(&self, keys: &[Key]) -> Result<(), BlobError> {
        match &self.behind {
            None => self.local.delete_all(keys).await,
            Some(behind) => {
                stream::iter(keys)
                    .map(Ok)
                    .try_for_each_concurrent(DELETIONS, |key| behind.delete(key))
                    .await
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        match &self.behind {
            None => self.local.list(prefix).await,
            Some(behind) => behind.list(prefix).await,
        }
    }
}
