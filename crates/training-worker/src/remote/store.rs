//! The artifact store at the orchestrator's address.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifacts::{BlobError, BlobStore, Key, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use federation::Digest;
use futures::StreamExt;
use futures::stream::BoxStream;
use proto::transport::Outgoing;
use proto::v1::blobs_client::BlobsClient;
use proto::v1::{GetBlobRequest, HeadBlobRequest, PutBlobRequest, UploadHeader, put_blob_request};
use proto::{body, fault};
use telemetry::trace::Traced;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Chunks on their way, so that reading and sending overlap.
const CHUNKS_IN_FLIGHT: usize = 16;

/// Artifacts as the orchestrator serves them.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    client: BlobsClient<Outgoing>,
    chunk_bytes: usize,
    broken: Broken,
}

/// Broken uploads remembered at once. One that is forgotten begins anew.
const BROKEN_MAX: usize = 1_000;

/// Uploads that broke: only of these is it asked where they go on.
type Broken = Arc<Mutex<HashSet<Key>>>;

impl RemoteStore {
    /// The store at the other end of `channel`, which takes updates in messages of `chunk_bytes`.
    #[must_use]
    pub fn new(channel: Outgoing, chunk_bytes: usize) -> Self {
        Self {
            client: BlobsClient::new(channel),
            chunk_bytes,
            broken: Broken::default(),
        }
    }

    /// Where an upload that broke goes on.
    async fn offset(&self, header: UploadHeader) -> Result<u64, Status> {
        let answer = self.client.clone().upload_offset(header).await?;
        Ok(answer.into_inner().offset_bytes)
    }
}

#[async_trait]
impl BlobStore for RemoteStore {
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError> {
        let digest = Digest::of(&bytes);
        let mut upload = self.upload(key, bytes.len() as u64, &digest).await?;
        let start = usize::try_from(upload.offset())
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        upload.write(bytes.slice(start..)).await?;
        upload.finish().await
    }

    async fn upload(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<Box<dyn Upload>, BlobError> {
        let mut header = UploadHeader {
            key: key.to_string(),
            length_bytes: len,
            digest: digest.to_string(),
            offset_bytes: 0,
        };
        if lock(&self.broken).contains(key) {
            let offset = self.offset(header.clone()).await;
            header.offset_bytes = offset.map_err(|status| at(key, &status))?;
        }
        Ok(Box::new(RemoteUpload {
            key: key.clone(),
            offset: header.offset_bytes,
            store: self.clone(),
            header: Some(header),
            parts: None,
            call: None,
        }))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        // A start and a length, as on the wire, cannot say that a range runs backwards.
        if let Some(Range { start, end }) = range
            && start > end
        {
            let missing = || BlobError::NotFound { key: key.clone() };
            let len = self.head(key).await?.ok_or_else(missing)?;
            let key = key.clone();
            return Err(BlobError::RangeOutside {
                key,
                start,
                end,
                len,
            });
        }
        let request = GetBlobRequest {
            key: key.to_string(),
            offset_bytes: range.as_ref().map_or(0, |range| range.start),
            length_bytes: range.map(|range| range.end.saturating_sub(range.start)),
        };
        let mut client = self.client.clone();
        let stream = client
            .get(request)
            .await
            .map_err(|status| at(key, &status))?
            .into_inner();
        let key = key.clone();
        let chunk = move |chunk: Result<proto::v1::BlobChunk, Status>| match chunk {
            Ok(chunk) => Ok(chunk.data),
            Err(status) => Err(at(&key, &status)),
        };
        Ok(stream.map(chunk).boxed())
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        let request = HeadBlobRequest {
            key: key.to_string(),
        };
        let answer = self
            .client
            .clone()
            .head(request)
            .await
            .map_err(|status| at(key, &status))?;
        let head = answer.into_inner();
        Ok(head.found.then_some(head.length_bytes))
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        Err(BlobError::Unavailable {
            message: format!("only the orchestrator deletes {key}"),
        })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        Err(BlobError::Unavailable {
            message: format!("only the orchestrator lists {prefix:?}"),
        })
    }
}

struct RemoteUpload {
    key: Key,
    offset: u64,
    store: RemoteStore,
    /// Until the call begins, which it does with the first bytes.
    header: Option<UploadHeader>,
    // Both there from then on, and taken out at the end.
    parts: Option<mpsc::Sender<PutBlobRequest>>,
    call: Option<JoinHandle<Result<(), Status>>>,
}

impl RemoteUpload {
    async fn begin(&mut self) {
        let Some(header) = self.header.take() else {
            return;
        };
        let mut client = self.store.client.clone();
        let (parts, stream) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let put = async move { client.put(ReceiverStream::new(stream)).await.map(drop) };
        self.call = Some(tokio::spawn(put.in_current()));
        self.parts = Some(parts);
        self.send(put_blob_request::Part::Header(header)).await;
    }

    // A call that has ended takes no more parts; why it ended is told by `finish`.
    async fn send(&self, part: put_blob_request::Part) -> bool {
        let request = PutBlobRequest { part: Some(part) };
        match &self.parts {
            Some(parts) => parts.send(request).await.is_ok(),
            None => false,
        }
    }

    async fn end(&mut self) -> Result<(), BlobError> {
        drop(self.parts.take());
        let Some(call) = self.call.take() else {
            return Ok(());
        };
        let ended = match call.await {
            Ok(answer) => answer.map_err(|status| at(&self.key, &status)),
            Err(broken) => Err(BlobError::Unavailable {
                message: broken.to_string(),
            }),
        };
        match &ended {
            Ok(()) => lock(&self.store.broken).remove(&self.key),
            Err(_) => remember(&self.store.broken, &self.key),
        };
        ended
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        if self.call.is_some() {
            remember(&self.store.broken, &self.key);
        }
    }
}

/// Remembers an upload that broke; says whether it was not known.
fn remember(broken: &Broken, key: &Key) -> bool {
    let mut broken = lock(broken);
    if broken.len() >= BROKEN_MAX {
        broken.clear();
    }
    broken.insert(key.clone())
}

fn lock(broken: &Broken) -> MutexGuard<'_, HashSet<Key>> {
    broken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Upload for RemoteUpload {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.begin().await;
        for chunk in body::chunks_of(self.store.chunk_bytes, bytes) {
            let len = chunk.len() as u64;
            if !self.send(put_blob_request::Part::Data(chunk)).await {
                break;
            }
            self.offset += len;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        self.begin().await;
        self.end().await
    }
}

/// A status as the error that the orchestrator's own store had.
fn at(key: &Key, status: &Status) -> BlobError {
    let mentioned = |field| fault::metadata(status, field);
    let number = |field| mentioned(field).and_then(|text| text.parse().ok());
    let digest = |field| mentioned(field).and_then(|text| text.parse().ok());
    let key = key.clone();
    match fault::reason(status).as_deref() {
        Some(fault::BLOB_NOT_FOUND) => return BlobError::NotFound { key },
        Some(fault::DIGEST_MISMATCH) => {
            if let (Some(expected), Some(actual)) = (digest("expected"), digest("actual")) {
                return BlobError::DigestMismatch {
                    key,
                    expected,
                    actual,
                };
            }
        }
        Some(fault::WRONG_LENGTH) => {
            if let (Some(expected), Some(actual)) = (number("expected"), number("actual")) {
                return BlobError::WrongLength {
                    key,
                    expected,
                    actual,
                };
            }
        }
        Some(fault::RANGE_OUTSIDE) => {
            if let (Some(start), Some(end), Some(len)) =
                (number("start"), number("end"), number("len"))
            {
                return BlobError::RangeOutside {
                    key,
                    start,
                    end,
                    len,
                };
            }
        }
        _ => {}
    }
    BlobError::Unavailable {
        message: status.message().to_owned(),
    }
}
