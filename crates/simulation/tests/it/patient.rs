//! Who asks again what was not available, as every caller in the house does.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use artifacts::{BlobError, BlobStore, Key, Upload};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use federation::Digest;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use task_queue::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};

/// `$call` until it is anything but unavailable.
macro_rules! patiently {
    ($error:ident, $call:expr) => {
        loop {
            match $call.await {
                Err($error::Unavailable { .. }) => {}
                answer => break answer,
            }
        }
    };
}

#[derive(Debug)]
pub(crate) struct PatientQueue(pub(crate) Arc<dyn TaskQueue>);

#[async_trait]
impl TaskQueue for PatientQueue {
    async fn send(&self, messages: Vec<TaskMessage>) -> Result<(), QueueError> {
        patiently!(QueueError, self.0.send(messages.clone()))
    }

    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        patiently!(QueueError, self.0.receive(pins, max, lease_ttl, wait))
    }

    async fn receive_dead(
        &self,
        max: NonZeroUsize,
        lease_ttl: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        patiently!(QueueError, self.0.receive_dead(max, lease_ttl))
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        patiently!(QueueError, self.0.extend(handle, lease_ttl))
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        patiently!(QueueError, self.0.give_back(handle, delay))
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        patiently!(QueueError, self.0.acknowledge(handle))
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        patiently!(QueueError, self.0.depth())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct PatientStore(pub(crate) Arc<dyn BlobStore>);

impl PatientStore {
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Vec<Bytes>, BlobError> {
        self.0.get(key, range).await?.try_collect().await
    }
}

#[async_trait]
impl BlobStore for PatientStore {
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError> {
        patiently!(BlobError, self.0.put(key, bytes.clone()))
    }

    async fn upload(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<Box<dyn Upload>, BlobError> {
        let upload = patiently!(BlobError, self.0.upload(key, len, digest))?;
        Ok(Box::new(PatientUpload {
            store: self.clone(),
            key: key.clone(),
            len,
            digest: *digest,
            begun_at: upload.offset(),
            written: BytesMut::new(),
            upload,
        }))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let chunks = patiently!(BlobError, self.read(key, range.clone()))?;
        Ok(stream::iter(chunks).map(Ok).boxed())
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        patiently!(BlobError, self.0.head(key))
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        patiently!(BlobError, self.0.delete(key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        patiently!(BlobError, self.0.list(prefix))
    }
}

/// An upload that is taken up again where it broke, as workers do.
struct PatientUpload {
    store: PatientStore,
    key: Key,
    len: u64,
    digest: Digest,
    begun_at: u64,
    written: BytesMut,
    upload: Box<dyn Upload>,
}

impl PatientUpload {
    /// Brings a new upload to where this one was.
    async fn catch_up(&mut self) -> Result<(), BlobError> {
        loop {
            // One that is held cannot be taken up again.
            self.upload = Box::new(Taken);
            let again = self.store.0.upload(&self.key, self.len, &self.digest);
            match again.await {
                Ok(again) => self.upload = again,
                Err(BlobError::Unavailable { .. }) => continue,
                Err(error) => return Err(error),
            }
            let done = self.upload.offset() - self.begun_at;
            let rest = self.written.clone().freeze();
            let rest =
                rest.slice(usize::try_from(done).map_or(rest.len(), |done| done.min(rest.len()))..);
            match self.upload.write(rest).await {
                Err(BlobError::Unavailable { .. }) => {}
                written => return written,
            }
        }
    }
}

#[async_trait]
impl Upload for PatientUpload {
    fn offset(&self) -> u64 {
        self.upload.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let before = self.written.len();
        self.written.extend_from_slice(&bytes);
        let written = match self.upload.write(bytes).await {
            Err(BlobError::Unavailable { .. }) => self.catch_up().await,
            written => written,
        };
        if written.is_err() {
            self.written.truncate(before);
        }
        written
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        loop {
            let upload = std::mem::replace(&mut self.upload, Box::new(Taken));
            match upload.finish().await {
                Err(BlobError::Unavailable { .. }) => self.catch_up().await?,
                finished => return finished,
            }
        }
    }
}

/// In the place of an upload that is being finished.
struct Taken;

#[async_trait]
impl Upload for Taken {
    fn offset(&self) -> u64 {
        0
    }

    async fn write(&mut self, _: Bytes) -> Result<(), BlobError> {
        unreachable!("it is being finished")
    }

    async fn finish(self: Box<Self>) -> Result<(), BlobError> {
        unreachable!("it is being finished")
    }
}
