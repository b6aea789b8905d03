//! Writes to the store that only one of two writers wins.

use bytes::Bytes;
use federation::Digest;
use futures::TryStreamExt;

use super::ArtifactStore;
use crate::{BlobError, BlobStore, Expected, Key, Swapped, Version};

impl ArtifactStore {
    /// Reads a small object with its version: on S3, past the directory.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`] and [`BlobError::Io`].
    pub async fn read_version(&self, key: &Key) -> Result<Option<(Bytes, Version)>, BlobError> {
        let Some(behind) = &self.behind else {
            let bytes = whole(self.local.get(key, None).await).await?;
            return Ok(bytes.map(|bytes| {
                let version = local_version(&bytes);
                (bytes, version)
            }));
        };
        let Some(there) = behind.remote.head(key).await? else {
            return Ok(None);
        };
        let chunks = behind.remote.read(key, &there.version, 0..there.len);
        let bytes = whole(Ok(chunks)).await?;
        Ok(bytes.map(|bytes| (bytes, there.version)))
    }

    /// Writes a small object if what is there is what is `expected`: of two who expect the same,
    /// one writes. On S3 that holds among all processes; in a directory, within this one.
    ///
    /// That the very same bytes are there already counts as written. Who must be told apart from
    /// others says in the bytes who it is.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`], then it is not known whether it was written; [`BlobError::Io`].
    pub async fn swap(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: &Expected,
    ) -> Result<Swapped, BlobError> {
        let Some(behind) = &self.behind else {
            return self.swap_locally(key, bytes, expected).await;
        };
        let _alone = behind.copies.locks.lock(key).await;
        behind.copies.forget(key);
        // The file is left as it was; the next read sees that S3 has another.
        behind.remote.swap(key, bytes, expected).await
    }

    async fn swap_locally(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: &Expected,
    ) -> Result<Swapped, BlobError> {
        let _alone = self.locks.lock(key).await;
        let there = whole(self.local.get(key, None).await).await?;
        let there = there.map(|bytes| local_version(&bytes));
        let version = local_version(&bytes);
        let holds = match (&there, expected) {
            (None, Expected::Absent) => true,
            (Some(there), Expected::Version(expected)) => there == expected,
            _ => false,
        };
        if there.as_ref() == Some(&version) {
            return Ok(Swapped::Written(version));
        }
        if !holds {
            return Ok(Swapped::Lost);
        }
        self.local.put(key, bytes).await?;
        Ok(Swapped::Written(version))
    }
}

fn local_version(bytes: &Bytes) -> Version {
    Version(Digest::of(bytes).to_string())
}

async fn whole<S>(chunks: Result<S, BlobError>) -> Result<Option<Bytes>, BlobError>
where
    S: futures::Stream<Item = Result<Bytes, BlobError>>,
{
    let chunks = match chunks {
        Ok(chunks) => chunks,
        Err(BlobError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let chunks: Vec<Bytes> = chunks.try_collect().await?;
    Ok(Some(chunks.concat().into()))
}
