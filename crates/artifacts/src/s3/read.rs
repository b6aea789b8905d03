//! Bytes that come down, a few pieces at a time.

use std::ops::Range;

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use federation::Digest;
use federation::digest::Digester;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::failure::{Refusal, failed, refusal, unavailable};
use super::{AT_ONCE, Head, PIECE, S3Store, Version, digest, version};
use crate::store::CHUNK_MAX;
use crate::{BlobError, Key};

/// Times in a row that a piece may break without a byte more.
const BREAKS_MAX: u32 = 3;

impl S3Store {
    /// Looks at an object.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`].
    pub async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        self.meter.count("head", key, self.look(key)).await
    }

    pub(super) async fn look(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        let looked = self
            .client
            .head_object()
            .bucket(self.bucket())
            .key(self.object(key))
            .send()
            .await;
        match looked {
            Ok(there) => Ok(Some(Head {
                len: length(there.content_length()),
                version: version(there.e_tag()),
                digest: digest(there.metadata()),
            })),
            // No body says whether it is the bucket that is missing; then its objects are, too.
            Err(error) if refusal(&error) == Refusal::NoObject => Ok(None),
            Err(error) => Err(unavailable(&format!("look at {key}"), &error)),
        }
    }

    /// Reads an object, or the bytes of it in `range`, in chunks of at most [`CHUNK_MAX`].
    ///
    /// # Errors
    ///
    /// [`BlobError::NotFound`], [`BlobError::RangeOutside`] and [`BlobError::Unavailable`], the last
    /// also when the object is replaced while it is read.
    pub async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let looked = self.meter.count("get", key, self.look(key)).await?;
        let Head { len, version, .. } =
            looked.ok_or_else(|| BlobError::NotFound { key: key.clone() })?;
        let range = range.unwrap_or(0..len);
        if range.start > range.end || range.end > len {
            return Err(BlobError::RangeOutside {
                key: key.clone(),
                start: range.start,
                end: range.end,
                len,
            });
        }
        Ok(self.read(key, &version, range))
    }

    /// Reads bytes that a version of an object has.
    pub(crate) fn read(
        &self,
        key: &Key,
        version: &Version,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let (store, key, version) = (self.clone(), key.clone(), version.clone());
        stream::iter(pieces(range))
            .map(move |piece| {
                let (store, key, version) = (store.clone(), key.clone(), version.clone());
                async move {
                    let reading = store.piece(&key, &version, piece.clone());
                    let read = store.meter.count("read", &(&key, &piece), reading).await?;
                    store.meter.count_bytes("read", read.len());
                    Ok::<_, BlobError>(stream::iter(chunks(read).map(Ok)))
                }
            })
            .buffered(AT_ONCE)
            .try_flatten()
            .boxed()
    }

    /// The digest of an object whose metadata has none.
    pub(crate) async fn digest(&self, key: &Key, head: &Head) -> Result<Digest, BlobError> {
        let mut digester = Digester::default();
        let mut chunks = self.read(key, &head.version, 0..head.len);
        while let Some(chunk) = chunks.try_next().await? {
            digester.update(&chunk);
        }
        Ok(digester.finish())
    }

    /// Reads one piece, going on where it breaks for as long as it advances.
    async fn piece(
        &self,
        key: &Key,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Bytes, BlobError> {
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut piece = BytesMut::with_capacity(wanted);
        let mut breaks = 0;
        while piece.len() < wanted {
            let (before, start) = (piece.len(), range.start + piece.len() as u64);
            let mut body = self.ask(key, version, start..range.end).await?;
            let broken = fill(&mut piece, wanted, &mut body).await;
            if piece.len() > before {
                breaks = 0;
            }
            if let Some(message) = broken {
                breaks += 1;
                if breaks == BREAKS_MAX {
                    return Err(BlobError::Unavailable {
                        message: format!("S3 broke off within {key}: {message}"),
                    });
                }
            }
        }
        Ok(piece.freeze())
    }

    async fn ask(
        &self,
        key: &Key,
        version: &Version,
        range: Range<u64>,
    ) -> Result<ByteStream, BlobError> {
        let asked = self
            .client
            .get_object()
            .bucket(self.bucket())
            .key(self.object(key))
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .if_match(&version.0)
            .send()
            .await;
        match asked {
            Ok(answer) => Ok(answer.body),
            Err(error) if refusal(&error) == Refusal::Condition => Err(BlobError::Unavailable {
                message: format!("{key} was replaced while it was read; read it again"),
            }),
            Err(error) => Err(failed("give", key, &error)),
        }
    }
}

/// Appends what comes until enough is there. Returns why it ended early.
async fn fill(piece: &mut BytesMut, wanted: usize, body: &mut ByteStream) -> Option<String> {
    loop {
        match body.next().await {
            Some(Ok(bytes)) if bytes.len() > wanted - piece.len() => {
                return Some("it gave more bytes than were asked for".to_owned());
            }
            Some(Ok(bytes)) => piece.extend_from_slice(&bytes),
            Some(Err(error)) => return Some(error.to_string()),
            None if piece.len() < wanted => return Some("it ended early".to_owned()),
            None => return None,
        }
    }
}

/// What is asked for with one request each.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let piece = start..range.end.min(start.saturating_add(PIECE));
        start = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

fn chunks(mut piece: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let chunk = piece.split_to(piece.len().min(CHUNK_MAX));
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn length(announced: Option<i64>) -> u64 {
    u64::try_from(announced.unwrap_or(0)).unwrap_or(0)
}
