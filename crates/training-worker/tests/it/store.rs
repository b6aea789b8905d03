//! A worker's store keeps the promises of every store.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use artifacts::contract::{self, Harness};
use artifacts::{BlobError, BlobStore, Key, Kind, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use federation::Digest;
use futures::StreamExt;
use futures::stream::BoxStream;
use proto::v1::blobs_client::BlobsClient;
use proto::v1::{PutBlobRequest, UploadHeader, put_blob_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use training_worker::remote::RemoteStore;

use crate::served::{Served, serve};

const CHUNK_BYTES: usize = 64 * 1024;

/// Where a worker may write.
const UPDATES: &str = "runs/x/rounds/y/updates/";

/// The orchestrator's hand and the worker's: one deletes and lists, the other does all else.
///
/// A worker's keys have one free segment, the last. Those of the suite have slashes instead of
/// underscores, and so fit in.
struct BothHands {
    served: Served,
    remote: RemoteStore,
}

impl std::fmt::Debug for BothHands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.remote.fmt(f)
    }
}

fn inner(key: &Key) -> Key {
    format!("{UPDATES}{}", key.as_str().replace('/', "_"))
        .parse()
        .unwrap()
}

fn outer(key: &Key) -> Key {
    let name = key.as_str().strip_prefix(UPDATES).unwrap();
    name.replace('_', "/").parse().unwrap()
}

fn outer_error(mut error: BlobError) -> BlobError {
    match &mut error {
        BlobError::NotFound { key }
        | BlobError::DigestMismatch { key, .. }
        | BlobError::WrongLength { key, .. }
        | BlobError::RangeOutside { key, .. }
        | BlobError::Io { key, .. } => *key = outer(key),
        BlobError::List { .. } | BlobError::Unavailable { .. } => {}
    }
    error
}

#[async_trait]
impl BlobStore for BothHands {
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError> {
        let put = self.remote.put(&inner(key), bytes).await;
        put.map_err(outer_error)
    }

    async fn upload(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<Box<dyn Upload>, BlobError> {
        let upload = self.remote.upload(&inner(key), len, digest).await;
        Ok(Box::new(Outer(upload.map_err(outer_error)?)))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let chunks = self.remote.get(&inner(key), range).await;
        let chunk = |chunk: Result<Bytes, BlobError>| chunk.map_err(outer_error);
        Ok(chunks.map_err(outer_error)?.map(chunk).boxed())
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        self.remote.head(&inner(key)).await.map_err(outer_error)
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.served.blobs.delete(&inner(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        let prefix = format!("{UPDATES}{}", prefix.replace('/', "_"));
        let keys = self.served.blobs.list(&prefix).await?;
        let mut keys: Vec<_> = keys.iter().map(outer).collect();
        keys.sort();
        Ok(keys)
    }
}

struct Outer(Box<dyn Upload>);

#[async_trait]
impl Upload for Outer {
    fn offset(&self) -> u64 {
        self.0.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.0.write(bytes).await.map_err(outer_error)
    }

    async fn finish(self: Box<Self>) -> Result<(), BlobError> {
        self.0.finish().await.map_err(outer_error)
    }
}

contract::check!(async {
    let served = serve().await;
    let remote = RemoteStore::new(served.channel.clone(), CHUNK_BYTES);
    Harness {
        store: Arc::new(BothHands { served, remote }),
        keep: Box::new(()),
    }
});

#[tokio::test]
async fn a_worker_writes_nothing_but_updates() {
    let served = serve().await;
    let remote = RemoteStore::new(served.channel.clone(), CHUNK_BYTES);
    let bytes = Bytes::from_static(b"pangea");
    for place in [
        Key::content(Kind::Model, &Digest::of(&bytes)),
        "runs/x/checkpoints/00001.json".parse().unwrap(),
        "runs/x/rounds/y/updates/z/a".parse().unwrap(),
    ] {
        let refused = remote.put(&place, bytes.clone()).await.unwrap_err();
        assert!(
            refused.to_string().contains("only updates are taken"),
            "{refused}"
        );
        assert_eq!(served.blobs.head(&place).await.unwrap(), None);
    }
    let update: Key = format!("{UPDATES}z").parse().unwrap();
    remote.put(&update, bytes).await.unwrap();
    assert!(remote.delete(&update).await.is_err());
    assert!(remote.list(UPDATES).await.is_err());
    assert_eq!(served.blobs.head(&update).await.unwrap(), Some(6));
}

#[tokio::test]
async fn a_worker_reads_what_the_orchestrator_stored() {
    let served = serve().await;
    let remote = RemoteStore::new(served.channel.clone(), CHUNK_BYTES);
    let bytes = Bytes::from_static(b"pangea");
    let key = Key::content(Kind::Shard, &Digest::of(&bytes));
    served.blobs.put(&key, bytes.clone()).await.unwrap();
    let blob = artifacts::BlobRef {
        key,
        offset: 2,
        len: 4,
        digest: Digest::of(&bytes[2..]),
    };
    assert_eq!(artifacts::fetch(&remote, &blob).await.unwrap(), "ngea");
}

/// The connection goes away in the middle of an upload: neither its end nor an error is told.
#[tokio::test]
async fn an_upload_whose_connection_broke_resumes_on_another_one() {
    let served = serve().await;
    let key: Key = format!("{UPDATES}z").parse().unwrap();
    let bytes = Bytes::from(vec![7; 100_000]);
    let digest = Digest::of(&bytes);
    let header = UploadHeader {
        key: key.to_string(),
        length_bytes: 100_000,
        digest: digest.to_string(),
        offset_bytes: 0,
    };
    let broken = served.connect();
    let (parts, stream) = mpsc::channel(4);
    let call = tokio::spawn(async move {
        let mut client = BlobsClient::new(broken);
        client.put(ReceiverStream::new(stream)).await
    });
    let part = |part| PutBlobRequest { part: Some(part) };
    let header = put_blob_request::Part::Header(header);
    parts.send(part(header)).await.unwrap();
    let half = put_blob_request::Part::Data(bytes.slice(..50_000));
    parts.send(part(half)).await.unwrap();
    until(|| partial_bytes(&served) == 50_000).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    let remote = RemoteStore::new(served.connect(), CHUNK_BYTES);
    // The server learns of the end of the call a moment later, and then lets go of the file.
    let mut upload = loop {
        let upload = remote.upload(&key, 100_000, &digest).await.unwrap();
        if upload.offset() == 50_000 {
            break upload;
        }
        drop(upload.finish().await);
    };
    upload.write(bytes.slice(50_000..)).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(served.blobs.head(&key).await.unwrap(), Some(100_000));
}

fn partial_bytes(served: &Served) -> u64 {
    let partial = served.dir.path().join("artifacts/.partial");
    let files = std::fs::read_dir(partial).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

/// Looks again until it is so; what another process or task does cannot be awaited.
async fn until(is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let looked = tokio::time::timeout(Duration::from_secs(30), looking);
    looked.await.expect("it did not become so in time");
}
