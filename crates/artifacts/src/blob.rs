//! References to verified bytes.

use bytes::{Bytes, BytesMut};
use federation::Digest;
use federation::digest::Digester;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::{BlobError, BlobStore, Key};

/// Most bytes set aside before any has come: 64 MiB. A length is a claim; beyond this, memory grows
/// with what arrives.
const PREALLOCATE_MAX: usize = 64 * 1024 * 1024;

/// The bytes `offset .. offset + len` of an object, and the digest over exactly these.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// Which object.
    pub key: Key,
    /// Where the bytes begin.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
    /// What they hash to.
    pub digest: Digest,
}

/// Reads the bytes that `blob` names, and verifies them.
///
/// # Errors
///
/// As the stream of [`verified`].
pub async fn fetch(store: &dyn BlobStore, blob: &BlobRef) -> Result<Bytes, BlobError> {
    let mut chunks = verified(store, blob).await?;
    let claimed = usize::try_from(blob.len).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(claimed.min(PREALLOCATE_MAX));
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Reads the bytes that `blob` names piece by piece, and verifies them on the way: the stream ends in
/// an error where they are not the ones.
///
/// # Errors
///
/// What the store says; in the stream also [`BlobError::WrongLength`] when it gave more or fewer bytes
/// than the reference says, and [`BlobError::DigestMismatch`] when they are not the ones it names.
pub async fn verified(
    store: &dyn BlobStore,
    blob: &BlobRef,
) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
    let end = blob.offset.saturating_add(blob.len);
    let verifying = Verifying {
        chunks: store.get(&blob.key, Some(blob.offset..end)).await?,
        blob: blob.clone(),
        digester: Digester::default(),
        seen: 0,
    };
    Ok(stream::try_unfold(verifying, Verifying::next).boxed())
}

struct Verifying {
    chunks: BoxStream<'static, Result<Bytes, BlobError>>,
    blob: BlobRef,
    digester: Digester,
    seen: u64,
}

impl Verifying {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, BlobError> {
        let chunk = self.chunks.try_next().await?;
        self.seen += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let blob = &self.blob;
        if self.seen > blob.len || (chunk.is_none() && self.seen < blob.len) {
            return Err(BlobError::WrongLength {
                key: blob.key.clone(),
                expected: blob.len,
                actual: self.seen,
            });
        }
        if let Some(chunk) = chunk {
            self.digester.update(&chunk);
            return Ok(Some((chunk, self)));
        }
        let actual = self.digester.finish();
        if actual == blob.digest {
            return Ok(None);
        }
        Err(BlobError::DigestMismatch {
            key: blob.key.clone(),
            expected: blob.digest,
            actual,
        })
    }
}
