//! Large objects, in parts.
//!
//! Nobody sees an object before its last part: it appears when the upload is completed, which is
//! done after the digest of all parts was found right. An upload that fails or is dropped is
//! aborted; what a process that died left is aborted at the next start, when it is old enough to be
//! nobody's. S3 keeps, and charges for, the parts of an upload until then:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::{ChecksumType, CompletedMultipartUpload, CompletedPart, MultipartUpload};
use federation::Digest;
use federation::digest::Digester;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tracing::warn;

use super::failure::{Refusal, refusal, unavailable};
use super::put::{Source, body, check};
use super::{AT_ONCE, CHECKSUM, DIGEST, PIECE, S3Store, Version, patience, version};
use crate::{BlobError, Key};

/// Most parts that S3 takes: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
const PARTS_MAX: u64 = 10_000;

/// How old an upload is that nobody goes on with.
pub(super) const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// An upload that is not yet an object. Dropped, it is aborted.
pub(super) struct Unfinished {
    store: S3Store,
    object: String,
    /// None once it is completed or aborted.
    id: Option<String>,
}

impl S3Store {
    pub(super) async fn put_parts(
        &self,
        key: &Key,
        source: Source,
        len: u64,
        digest: &Digest,
    ) -> Result<Version, BlobError> {
        let beginning = self.begin(key, digest);
        let mut unfinished = self
            .meter
            .count("upload", &(key, len, digest), beginning)
            .await?;
        let put = async {
            let (parts, actual) = self.send_parts(key, &unfinished, source, len).await?;
            check(key, digest, actual)?;
            let completing = self.complete(key, &unfinished, parts, len, digest);
            self.meter.count("finish", key, completing).await
        };
        let put = put.await;
        if put.is_err() {
            unfinished.abort().await;
        } else {
            unfinished.id = None;
        }
        put
    }

    pub(super) async fn begin(&self, key: &Key, digest: &Digest) -> Result<Unfinished, BlobError> {
        match self.try_begin(key, digest).await {
            Err((Refusal::NoBucket, _)) if self.place.create => {
                self.create_bucket().await?;
                self.try_begin(key, digest).await
            }
            begun => begun,
        }
        .map_err(|(_refusal, error)| error)
    }

    async fn try_begin(
        &self,
        key: &Key,
        digest: &Digest,
    ) -> Result<Unfinished, (Refusal, BlobError)> {
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(self.bucket())
            .key(self.object(key))
            .metadata(DIGEST, digest.to_string())
            .checksum_algorithm(CHECKSUM)
            .checksum_type(ChecksumType::Composite)
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.place.kms_key.clone())
            .send()
            .await;
        match begun {
            Ok(begun) => Ok(Unfinished {
                store: self.clone(),
                object: self.object(key),
                id: begun.upload_id,
            }),
            Err(error) => {
                let doing = format!("begin to take {key}");
                Err((refusal(&error), unavailable(&doing, &error)))
            }
        }
    }

    /// Reads part after part, and sends a few at a time. Returns the digest of what was sent.
    pub(super) async fn send_parts(
        &self,
        key: &Key,
        unfinished: &Unfinished,
        source: Source,
        len: u64,
    ) -> Result<(Vec<CompletedPart>, Digest), BlobError> {
        let size = PIECE.max(len.div_ceil(PARTS_MAX));
        let mut digester = Digester::default();
        let mut under_way = FuturesUnordered::new();
        let mut sent = Vec::new();
        for (number, start) in (1..).zip((0..len).step_by(usize_of(size))) {
            if under_way.len() == AT_ONCE {
                sent.extend(under_way.next().await.transpose()?);
            }
            let piece = source
                .piece(key, start..len.min(start.saturating_add(size)))
                .await?;
            digester.update(&piece);
            let sending = self.send_part(key, unfinished, number, piece);
            under_way.push(self.meter.count("write", key, sending));
        }
        while let Some(part) = under_way.next().await {
            sent.push(part?);
        }
        sent.sort_by_key(CompletedPart::part_number);
        Ok((sent, digester.finish()))
    }

    async fn send_part(
        &self,
        key: &Key,
        unfinished: &Unfinished,
        number: i32,
        piece: bytes::Bytes,
    ) -> Result<CompletedPart, BlobError> {
        let len = piece.len();
        let sent = self
            .client
            .upload_part()
            .bucket(self.bucket())
            .key(&unfinished.object)
            .set_upload_id(unfinished.id.clone())
            .part_number(number)
            .checksum_algorithm(CHECKSUM)
            .body(body(piece))
            .customize()
            .config_override(patience(len as u64))
            .send()
            .await;
        let sent =
            sent.map_err(|error| unavailable(&format!("take part {number} of {key}"), &error))?;
        self.meter.count_bytes("write", len);
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build())
    }

    pub(super) async fn complete(
        &self,
        key: &Key,
        unfinished: &Unfinished,
        parts: Vec<CompletedPart>,
        len: u64,
        digest: &Digest,
    ) -> Result<Version, BlobError> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(self.bucket())
            .key(&unfinished.object)
            .set_upload_id(unfinished.id.clone())
            .multipart_upload(parts)
            .customize()
            // S3 may take minutes to put the parts together.
            .config_override(patience(len))
            .send()
            .await;
        match completed {
            Ok(completed) => Ok(version(completed.e_tag())),
            Err(error) => {
                // The answer to a first attempt may have got lost; then the upload is there no more.
                let there = match refusal(&error) {
                    Refusal::NoUpload => self.look(key).await?,
                    _ => None,
                };
                there
                    .filter(|there| there.digest.as_ref() == Some(digest))
                    .map(|there| there.version)
                    .ok_or_else(|| unavailable(&format!("put {key} together"), &error))
            }
        }
    }

    /// Aborts what nobody went on with for so long.
    pub(super) async fn sweep(&self, abandoned: Duration) -> Result<(), BlobError> {
        for upload in self.unfinished().await? {
            let begun = upload.initiated().copied().map(SystemTime::try_from);
            let age = begun.and_then(Result::ok).map(|begun| begun.elapsed());
            // An upload from the future is as good as new.
            if !age.is_some_and(|age| age.is_ok_and(|age| age > abandoned)) {
                continue;
            }
            if let (Some(object), Some(id)) = (upload.key, upload.upload_id) {
                self.abort(object, id).await;
            }
        }
        Ok(())
    }

    /// The uploads under way at this place.
    pub(super) async fn unfinished(&self) -> Result<Vec<MultipartUpload>, BlobError> {
        let mut all = Vec::new();
        let (mut object, mut id) = (None, None);
        loop {
            let listed = self
                .client
                .list_multipart_uploads()
                .bucket(self.bucket())
                .prefix(&self.place.prefix)
                .set_key_marker(object)
                .set_upload_id_marker(id)
                .send()
                .await;
            let listed = listed.map_err(|error| unavailable("list unfinished uploads", &error))?;
            all.extend(listed.uploads.unwrap_or_default());
            if !listed.is_truncated.unwrap_or(false) {
                return Ok(all);
            }
            (object, id) = (listed.next_key_marker, listed.next_upload_id_marker);
        }
    }
}

impl S3Store {
    async fn abort(&self, object: String, id: String) {
        let aborted = self
            .client
            .abort_multipart_upload()
            .bucket(self.bucket())
            .key(&object)
            .upload_id(id)
            .send()
            .await;
        if let Err(error) = aborted
            && refusal(&error) != Refusal::NoUpload
        {
            let error = unavailable("abort an upload", &error);
            warn!(object, error = %error, "an upload was not aborted");
        }
    }
}

impl Unfinished {
    async fn abort(mut self) {
        if let Some(id) = self.id.take() {
            let object = std::mem::take(&mut self.object);
            self.store.abort(object, id).await;
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else {
            return;
        };
        let (store, object) = (self.store.clone(), std::mem::take(&mut self.object));
        // Not with `self`: a runtime that ends drops what is spawned.
        runtime.spawn(async move { store.abort(object, id).await });
    }
}

fn usize_of(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
