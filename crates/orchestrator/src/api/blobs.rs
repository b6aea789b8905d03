//! The artifact store, for workers that know one address.
//!
//! Whoever calls may read any object and write updates; nothing else can be written.

use artifacts::{BlobError, BlobStore, Key};
use federation::Digest;
use futures::StreamExt;
use futures::stream::BoxStream;
use proto::v1::blobs_server::Blobs;
use proto::v1::{
    BlobChunk, GetBlobRequest, HeadBlobRequest, HeadBlobResponse, PutBlobRequest, PutBlobResponse,
    UploadHeader, UploadOffsetResponse, put_blob_request,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Api, status};
use crate::metrics::fleet::{FROM_WORKERS, TO_WORKERS};

#[tonic::async_trait]
impl Blobs for Api {
    async fn head(
        &self,
        request: Request<HeadBlobRequest>,
    ) -> Result<Response<HeadBlobResponse>, Status> {
        let key = key(&request.into_inner().key)?;
        let len = self.study.blobs.head(&key).await.map_err(status::blob)?;
        let length_bytes = len.unwrap_or(0);
        Ok(Response::new(HeadBlobResponse {
            found: len.is_some(),
            length_bytes,
        }))
    }

    type GetStream = BoxStream<'static, Result<BlobChunk, Status>>;

    async fn get(
        &self,
        request: Request<GetBlobRequest>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let GetBlobRequest {
            key: text,
            offset_bytes,
            length_bytes,
        } = request.into_inner();
        let key = key(&text)?;
        let range = match (offset_bytes, length_bytes) {
            (0, None) => None,
            (start, Some(len)) => Some(start..start.saturating_add(len)),
            (start, None) => {
                let len = self.study.blobs.head(&key).await.map_err(status::blob)?;
                let missing = || status::blob(BlobError::NotFound { key: key.clone() });
                Some(start..len.ok_or_else(missing)?)
            }
        };
        let chunks = self
            .study
            .blobs
            .get(&key, range)
            .await
            .map_err(status::blob)?;
        let sent = self.study.metrics.fleet.bytes.of(TO_WORKERS).clone();
        let message = move |chunk: Result<bytes::Bytes, BlobError>| {
            let data = chunk.map_err(status::blob)?;
            sent.inc_by(data.len() as u64);
            Ok(BlobChunk { data })
        };
        Ok(Response::new(chunks.map(message).boxed()))
    }

    async fn upload_offset(
        &self,
        request: Request<UploadHeader>,
    ) -> Result<Response<UploadOffsetResponse>, Status> {
        let header = request.into_inner();
        let (key, digest) = update(&header)?;
        let upload = self.study.blobs.upload(&key, header.length_bytes, &digest);
        let upload = upload.await.map_err(status::blob)?;
        Ok(Response::new(UploadOffsetResponse {
            offset_bytes: upload.offset(),
        }))
    }

    async fn put(
        &self,
        request: Request<Streaming<PutBlobRequest>>,
    ) -> Result<Response<PutBlobResponse>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(put_blob_request::Part::Header(header)) = first else {
            return Err(status::invalid_field("part", "the header must come first"));
        };
        let (key, digest) = update(&header)?;
        let (len, offset) = (header.length_bytes, header.offset_bytes);
        let upload = self.study.blobs.resume(&key, len, &digest, offset).await;
        let Some(mut upload) = upload.map_err(status::blob)? else {
            let message = format!("no upload of {key} goes on at {offset}; ask for the offset");
            return Err(proto::fault::status(
                Code::Aborted,
                "UPLOAD_MOVED",
                message,
                &[],
            ));
        };
        let received = self.study.metrics.fleet.bytes.of(FROM_WORKERS);
        while let Some(message) = parts.message().await? {
            let Some(put_blob_request::Part::Data(data)) = message.part else {
                return Err(status::invalid_field(
                    "part",
                    "there is one header, at the beginning",
                ));
            };
            received.inc_by(data.len() as u64);
            upload.write(data).await.map_err(status::blob)?;
        }
        upload.finish().await.map_err(status::blob)?;
        Ok(Response::new(PutBlobResponse {}))
    }
}

/// Which object an upload is for; only updates are.
fn update(header: &UploadHeader) -> Result<(Key, Digest), Status> {
    let key = key(&header.key)?;
    if !is_update(&key) {
        let message = format!("{key} is not the place of an update; only updates are taken");
        return Err(proto::fault::status(
            Code::PermissionDenied,
            "NOT_AN_UPDATE",
            message,
            &[],
        ));
    }
    let digest = header.digest.parse();
    let digest = digest
        .map_err(|error| status::invalid(proto::convert::InvalidMessage::new("digest", error)))?;
    Ok((key, digest))
}

fn is_update(key: &Key) -> bool {
    let segments: Vec<_> = key.as_str().split('/').collect();
    matches!(segments[..], ["runs", _, "rounds", _, "updates", _])
}

fn key(text: &str) -> Result<Key, Status> {
    text.parse()
        .map_err(|error| status::invalid(proto::convert::InvalidMessage::new("key", error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_place_of_an_update_is_one() {
        let update = "runs/r/rounds/00001/updates/client-0001-1";
        assert!(is_update(&update.parse().unwrap()));
        for other in [
            "models/ab/cd",
            "runs/r/rounds/00001.client-0001-1-1.bundle",
            "runs/r/checkpoints/00001.abcd.safetensors",
            "runs/r",
        ] {
            assert!(!is_update(&other.parse().unwrap()), "{other}");
        }
    }
}
