//! References to verified bytes.

use bytes::{Bytes, BytesMut};
use federation::Digest;
use federation::digest::Digester;
use futures::TryStreamExt;
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
/// What the store says, [`BlobError::WrongLength`] when it gave more or fewer bytes than the
/// reference says, and [`BlobError::DigestMismatch`] when they are not the ones it names.
pub async fn fetch(store: &dyn BlobStore, blob: &BlobRef) -> Result<Bytes, BlobError> {
    let end = blob.offset.saturating_add(blob.len);
    let mut chunks = store.get(&blob.key, Some(blob.offset..end)).await?;
    let wrong_length = |actual: usize| BlobError::WrongLength {
        key: blob.key.clone(),
        expected: blob.len,
        actual: actual as u64,
    };

    let claimed = usize::try_from(blob.len).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(claimed.min(PREALLOCATE_MAX));
    let mut digester = Digester::default();
    while let Some(chunk) = chunks.try_next().await? {
        if chunk.len() > claimed - bytes.len() {
            return Err(wrong_length(bytes.len() + chunk.len()));
        }
        digester.update(&chunk);
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() != claimed {
        return Err(wrong_length(bytes.len()));
    }
    let actual = digester.finish();
    if actual != blob.digest {
        return Err(BlobError::DigestMismatch {
            key: blob.key.clone(),
            expected: blob.digest,
            actual,
        });
    }
    Ok(bytes.freeze())
}
