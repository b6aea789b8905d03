//! The seam: what every store does.

use std::fmt::Debug;
use std::io;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use federation::Digest;
use futures::stream::BoxStream;
use thiserror::Error;

use crate::Key;

/// Largest chunk that a store hands out: 1 MiB, which keeps copies in flight small and fits the
/// default message limit of gRPC four times.
pub const CHUNK_MAX: usize = 1024 * 1024;

/// A store of objects, each written whole or not at all.
///
/// Held to the sentences of the `contract` module.
#[async_trait]
pub trait BlobStore: Debug + Send + Sync {
    /// Writes a small object whole, replacing what was there. Durable when it returns.
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError>;

    /// Begins to write an object of known length and digest, or resumes a broken upload of it.
    async fn upload(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<Box<dyn Upload>, BlobError>;

    /// Reads an object, or the bytes of it in `range`, in chunks of at most [`CHUNK_MAX`].
    async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError>;

    /// The length of an object in bytes, or `None` when there is none.
    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError>;

    /// Removes an object. That there is none is fine.
    async fn delete(&self, key: &Key) -> Result<(), BlobError>;

    /// Removes some objects. That there is none is fine; an error leaves open which of them are gone.
    async fn delete_all(&self, keys: &[Key]) -> Result<(), BlobError> {
        for key in keys {
            self.delete(key).await?;
        }
        Ok(())
    }

    /// The keys that begin with `prefix`, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError>;
}

/// An object on its way into the store, invisible until it is finished.
///
/// Dropping it keeps what was written, for a later upload of the same bytes to resume from.
#[async_trait]
pub trait Upload: Send {
    /// How many bytes the store has; the next write begins here.
    fn offset(&self) -> u64;

    /// Writes the next bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError>;

    /// Verifies length and digest, and makes the object visible and durable.
    ///
    /// Bytes of the wrong digest are thrown away.
    async fn finish(self: Box<Self>) -> Result<(), BlobError>;
}

/// Why a store did not do as asked.
#[derive(Debug, Error)]
pub enum BlobError {
    /// There is no such object.
    #[error("object {key} is not in the store")]
    NotFound {
        /// Which one.
        key: Key,
    },
    /// The bytes are not the ones that were announced.
    #[error("object {key} has digest {actual} where {expected} was expected")]
    DigestMismatch {
        /// Which object.
        key: Key,
        /// What was announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// More or fewer bytes than were announced.
    #[error("object {key} has {actual} bytes where {expected} were expected")]
    WrongLength {
        /// Which object.
        key: Key,
        /// How many were announced.
        expected: u64,
        /// How many came.
        actual: u64,
    },
    /// The object does not reach that far.
    #[error("bytes {start}..{end} lie outside of object {key}, which has {len}")]
    RangeOutside {
        /// Which object.
        key: Key,
        /// First byte wanted.
        start: u64,
        /// First byte no longer wanted.
        end: u64,
        /// How many there are.
        len: u64,
    },
    /// The disk said no.
    #[error("object {key} cannot be read or written: {source}")]
    Io {
        /// Which object.
        key: Key,
        /// What the disk said.
        source: io::Error,
    },
    /// The objects under a prefix cannot be listed.
    #[error("objects under {prefix:?} cannot be listed: {source}")]
    List {
        /// Which prefix.
        prefix: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The store cannot be reached or cannot answer; later it may.
    #[error("the store is not available: {message}")]
    Unavailable {
        /// What the backend said.
        message: String,
    },
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable {
            message: error.to_string(),
        }
    }
}
