//! Bytes that go up whole.
//!
//! What is sent is what was hashed: each piece is read once, for both.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;
use federation::Digest;
use http_body::{Body, Frame, SizeHint};

use super::failure::{Refusal, refusal, unavailable};
use super::{CHECKSUM, DIGEST, Expected, PIECE, S3Store, Version, patience, version};
use crate::local::files::blocking;
use crate::{BlobError, Key};

/// How much of a piece the connection takes at a time; so the SDK sees whether it advances.
const FRAME: usize = 64 * 1024;

/// Where bytes to send are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Memory(Bytes),
    File(Arc<File>),
}

impl Source {
    /// Reads a piece.
    pub(super) async fn piece(&self, key: &Key, range: Range<u64>) -> Result<Bytes, BlobError> {
        let read = match self {
            Self::Memory(bytes) => memory(bytes, &range),
            Self::File(file) => {
                let file = Arc::clone(file);
                blocking(move || {
                    let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
                    let mut piece = vec![0; len];
                    file.read_exact_at(&mut piece, range.start)?;
                    Ok(Bytes::from(piece))
                })
                .await
            }
        };
        read.map_err(|source| BlobError::Io {
            key: key.clone(),
            source,
        })
    }
}

fn memory(bytes: &Bytes, range: &Range<u64>) -> io::Result<Bytes> {
    let start = usize::try_from(range.start).map_err(io::Error::other)?;
    let end = usize::try_from(range.end).map_err(io::Error::other)?;
    Ok(bytes.slice(start..end))
}

impl S3Store {
    /// Writes an object whole, replacing what was there.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`].
    pub async fn put(&self, key: &Key, bytes: Bytes) -> Result<Version, BlobError> {
        let digest = Digest::of(&bytes);
        let len = bytes.len() as u64;
        self.put_source(key, Source::Memory(bytes), len, &digest)
            .await
    }

    /// Writes the first `len` bytes of `file` as an object, replacing what was there; in parts, when
    /// they are many.
    ///
    /// # Errors
    ///
    /// [`BlobError::DigestMismatch`] when they have another digest, [`BlobError::Io`] when the file
    /// cannot be read, and [`BlobError::Unavailable`]; then what was there stays, and nothing else.
    pub async fn put_file(
        &self,
        key: &Key,
        file: Arc<File>,
        len: u64,
        digest: &Digest,
    ) -> Result<Version, BlobError> {
        self.put_source(key, Source::File(file), len, digest).await
    }

    async fn put_source(
        &self,
        key: &Key,
        source: Source,
        len: u64,
        digest: &Digest,
    ) -> Result<Version, BlobError> {
        if len > PIECE {
            return Box::pin(self.put_parts(key, source, len, digest)).await;
        }
        let bytes = source.piece(key, 0..len).await?;
        check(key, digest, Digest::of(&bytes))?;
        let put = self.put_once(key, bytes, digest, None).await?;
        put.ok_or_else(|| BlobError::Unavailable {
            message: format!("S3 found a condition on {key} where there was none"),
        })
    }

    /// One request; none when the condition does not hold.
    pub(super) async fn put_once(
        &self,
        key: &Key,
        bytes: Bytes,
        digest: &Digest,
        condition: Option<&Expected>,
    ) -> Result<Option<Version>, BlobError> {
        let len = bytes.len();
        let putting = async {
            match self.try_put(key, bytes.clone(), digest, condition).await {
                Err((Refusal::NoBucket, _)) if self.place.create => {
                    self.create_bucket().await?;
                    self.try_put(key, bytes, digest, condition).await
                }
                put => put,
            }
            .or_else(|(refusal, error)| match refusal {
                Refusal::Condition if condition.is_some() => Ok(None),
                // The version that was expected is of an object that is not there any more.
                Refusal::NoObject if condition.is_some() => Ok(None),
                _ => Err(error),
            })
        };
        let put = self.meter.count("put", key, putting).await?;
        self.meter.count_bytes("put", len);
        Ok(put)
    }

    async fn try_put(
        &self,
        key: &Key,
        bytes: Bytes,
        digest: &Digest,
        condition: Option<&Expected>,
    ) -> Result<Option<Version>, (Refusal, BlobError)> {
        let (absent, same) = match condition {
            None => (None, None),
            Some(Expected::Absent) => (Some("*".to_owned()), None),
            Some(Expected::Version(version)) => (None, Some(version.0.clone())),
        };
        let len = bytes.len() as u64;
        let put = self
            .client
            .put_object()
            .bucket(self.bucket())
            .key(self.object(key))
            .metadata(DIGEST, digest.to_string())
            .checksum_algorithm(CHECKSUM)
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.place.kms_key.clone())
            .set_if_none_match(absent)
            .set_if_match(same)
            .body(body(bytes))
            .customize()
            .config_override(patience(len))
            .send()
            .await;
        match put {
            Ok(put) => Ok(Some(version(put.e_tag()))),
            Err(error) => {
                let doing = format!("take {key}");
                Err((refusal(&error), unavailable(&doing, &error)))
            }
        }
    }

    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.place.storage_class.as_deref().map(StorageClass::from)
    }

    pub(super) fn encryption(&self) -> Option<ServerSideEncryption> {
        let key = self.place.kms_key.as_ref();
        key.map(|_key| ServerSideEncryption::AwsKms)
    }
}

pub(super) fn check(key: &Key, expected: &Digest, actual: Digest) -> Result<(), BlobError> {
    if actual == *expected {
        return Ok(());
    }
    Err(BlobError::DigestMismatch {
        key: key.clone(),
        expected: *expected,
        actual,
    })
}

/// A body that the SDK can send again.
///
/// Small ones go as they are. Others go frame by frame: what the SDK handed over in one piece it
/// takes for sent, and would not notice that the connection stopped taking it.
pub(super) fn body(bytes: Bytes) -> ByteStream {
    if bytes.len() <= FRAME {
        return ByteStream::from(bytes);
    }
    ByteStream::new(SdkBody::retryable(move || {
        SdkBody::from_body_1_x(Frames(bytes.clone()))
    }))
}

struct Frames(Bytes);

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.0.len().min(FRAME);
        Poll::Ready(Some(Ok(Frame::data(self.0.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
