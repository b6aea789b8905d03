//! Writes that only one of two writers wins.
//!
//! S3 decides, by `If-None-Match` and `If-Match`:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.

use bytes::Bytes;
use federation::Digest;

use super::{S3Store, Version};
use crate::{BlobError, Key};

/// What must be there for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No object.
    Absent,
    /// This version, and no later one.
    Version(Version),
}

/// What became of a write that expected something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// The object is written, and has this version.
    Written(Version),
    /// Something else is there than was expected; nothing has changed.
    Lost,
}

impl S3Store {
    /// Writes a small object if what is there is what is `expected`.
    ///
    /// That the very same bytes are there already counts as written: they may be there by this
    /// call, when the answer to a first attempt got lost. Who must be told apart from others says
    /// in the bytes who it is.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`]; then it is not known whether it was written.
    pub async fn swap(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: &Expected,
    ) -> Result<Swapped, BlobError> {
        let digest = Digest::of(&bytes);
        let put = self.put_once(key, bytes, &digest, Some(expected)).await?;
        if let Some(version) = put {
            return Ok(Swapped::Written(version));
        }
        let there = self.head(key).await?;
        let same = there.filter(|there| there.digest == Some(digest));
        Ok(same.map_or(Swapped::Lost, |there| Swapped::Written(there.version)))
    }
}
