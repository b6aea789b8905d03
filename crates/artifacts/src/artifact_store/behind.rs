//! What a directory does with S3 behind it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use federation::Digest;
use futures::TryStreamExt;

use super::copies::Copies;
use super::sending::Sending;
use crate::local::files::{self, blocking};
use crate::{BlobError, BlobStore, Head, Key, LocalStore, S3Store, Upload};

#[derive(Debug)]
pub(super) struct Behind {
    pub(super) local: LocalStore,
    pub(super) remote: S3Store,
    pub(super) copies: Copies,
    pub(super) sending: Sending,
}

impl Behind {
    pub(super) fn new(local: LocalStore, remote: S3Store) -> Self {
        let sending = Sending::begin(local.clone(), remote.clone());
        Self {
            local,
            remote,
            copies: Copies::default(),
            sending,
        }
    }

    pub(super) async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError> {
        let _alone = self.copies.locks.lock(key).await;
        self.copies.forget(key);
        if key.is_update() {
            self.local.put(key, bytes).await?;
            self.sending.add(key);
            return Ok(());
        }
        // S3 first: when it refuses, the file is still what S3 has.
        self.remote.put(key, bytes.clone()).await?;
        self.local.put(key, bytes).await?;
        self.copies.keep(key);
        Ok(())
    }

    pub(super) async fn adopt(
        &self,
        key: &Key,
        path: PathBuf,
        digest: Digest,
    ) -> Result<(), BlobError> {
        let _alone = self.copies.locks.lock(key).await;
        self.copies.forget(key);
        self.local.adopt(key, path, digest).await?;
        if key.is_update() {
            self.sending.add(key);
        } else {
            // What S3 has there, if anything, is on its way to be replaced by this.
            self.copies.keep(key);
        }
        Ok(())
    }

    /// Brings an object that was adopted up.
    pub(super) async fn settle(&self, key: &Key) -> Result<(), BlobError> {
        let _alone = self.copies.locks.lock(key).await;
        let missing = || BlobError::NotFound { key: key.clone() };
        let looked = self.local.look(key, |_| Ok(())).await?;
        let (_, digest, ()) = looked.ok_or_else(missing)?;
        let file = open(key, self.local.path_of(key)).await?;
        let (file, len) = file.ok_or_else(missing)?;
        self.remote.put_file(key, file, len, &digest).await?;
        Ok(())
    }

    /// Finishes an upload that arrived in the directory.
    pub(super) async fn finish(
        &self,
        upload: Box<dyn Upload>,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<(), BlobError> {
        let _alone = self.copies.locks.lock(key).await;
        self.copies.forget(key);
        upload.finish().await?;
        if key.is_update() {
            self.sending.add(key);
            return Ok(());
        }
        let there = self.remote.head(key).await?;
        let is_up = there.is_some_and(|there| there.len == len && there.digest == Some(*digest));
        if !is_up {
            let file = open(key, self.local.path_of(key)).await?;
            let Some((file, _len)) = file else {
                return Err(BlobError::NotFound { key: key.clone() });
            };
            self.remote.put_file(key, file, len, digest).await?;
        }
        self.copies.keep(key);
        Ok(())
    }

    pub(super) async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        if let Some(len) = self.here(key).await? {
            return Ok(Some(len));
        }
        let there = self.remote.head(key).await?;
        Ok(there.map(|there| there.len))
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        let _alone = self.copies.locks.lock(key).await;
        self.copies.forget(key);
        // The directory first: an update that is there when S3 has none goes up after a restart.
        self.local.delete(key).await?;
        self.remote.delete(key).await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        let mut keys = self.remote.list(prefix).await?;
        let here = self.local.list(prefix).await?;
        keys.extend(here.into_iter().filter(Key::is_update));
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// Sees to it that the directory has the object.
    pub(super) async fn bring(&self, key: &Key) -> Result<(), BlobError> {
        if self.here(key).await?.is_some() {
            return Ok(());
        }
        let _alone = self.copies.locks.lock(key).await;
        // Whoever held the lock may have brought it.
        if self.here(key).await?.is_some() {
            return Ok(());
        }
        let there = self.remote.head(key).await?;
        let there = there.ok_or_else(|| BlobError::NotFound { key: key.clone() })?;
        self.fetch(key, &there).await?;
        self.copies.keep(key);
        Ok(())
    }

    /// The length of a file that stands for the object.
    async fn here(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        if key.is_update() || self.copies.is_current(key) {
            return self.local.head(key).await;
        }
        Ok(None)
    }

    /// Makes the file what S3 has. One that is so already is left alone, and one that is half there
    /// is gone on with.
    async fn fetch(&self, key: &Key, there: &Head) -> Result<(), BlobError> {
        let digest = match there.digest {
            Some(digest) => digest,
            None => self.remote.digest(key, there).await?,
        };
        let mut upload = self.local.upload(key, there.len, &digest).await?;
        let rest = upload.offset()..there.len;
        let mut chunks = self.remote.read(key, &there.version, rest);
        while let Some(chunk) = chunks.try_next().await? {
            upload.write(chunk).await?;
        }
        upload.finish().await
    }
}

/// Opens a file, and tells its length.
async fn open(key: &Key, path: PathBuf) -> Result<Option<(Arc<File>, u64)>, BlobError> {
    let opened = blocking(move || match File::open(path) {
        Ok(file) => {
            let len = file.metadata()?.len();
            Ok(Some((Arc::new(file), len)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    opened.await.map_err(|source| BlobError::Io {
        key: key.clone(),
        source,
    })
}

/// Opens a file, and tells its length and digest.
pub(super) async fn read_through(
    key: &Key,
    path: PathBuf,
) -> Result<Option<(Arc<File>, u64, Digest)>, BlobError> {
    let Some((file, len)) = open(key, path).await? else {
        return Ok(None);
    };
    let hashed = Arc::clone(&file);
    let digest = blocking(move || Ok(files::digest_prefix(&hashed, len)?.finish()));
    let digest = digest.await.map_err(|source| BlobError::Io {
        key: key.clone(),
        source,
    })?;
    Ok(Some((file, len, digest)))
}
