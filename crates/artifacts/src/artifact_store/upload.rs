//! An upload that arrives in the directory and goes up when it is whole.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use federation::Digest;

use super::behind::Behind;
use crate::{BlobError, Key, Upload};

pub(super) struct Arriving {
    pub(super) behind: Arc<Behind>,
    pub(super) upload: Box<dyn Upload>,
    pub(super) key: Key,
    pub(super) len: u64,
    pub(super) digest: Digest,
}

#[async_trait]
impl Upload for Arriving {
    fn offset(&self) -> u64 {
        self.upload.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.upload.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<(), BlobError> {
        let Self {
            behind,
            upload,
            key,
            len,
            digest,
        } = *self;
        behind.finish(upload, &key, len, &digest).await
    }
}
