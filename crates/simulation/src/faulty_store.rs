//! An artifact store that fails as stores do, as its seed has it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use artifacts::{BlobError, BlobStore, Key, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use federation::Digest;
use futures::stream::{self, BoxStream, StreamExt};

use crate::chance::Chance;

/// How often what happens, of 1,000 times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreFaults {
    /// A call is not made.
    pub failing: u32,
    /// A call is made, and its answer is lost.
    pub answers_lost: u32,
    /// Of what is written or read, only a beginning goes through.
    pub torn: u32,
}

/// A store with faults over one that has none.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    store: Arc<dyn BlobStore>,
    hand: Hand,
}

/// What deals out faults.
#[derive(Debug, Clone)]
struct Hand {
    faults: StoreFaults,
    chance: Arc<Mutex<Chance>>,
}

impl FaultyStore {
    /// Adds `faults` to `store`, as `seed` has it.
    #[must_use]
    pub fn new(store: Arc<dyn BlobStore>, faults: StoreFaults, seed: u64) -> Self {
        let chance = Arc::new(Mutex::new(Chance::of(seed, "store")));
        Self {
            store,
            hand: Hand { faults, chance },
        }
    }
}

impl Hand {
    fn happens(&self, share: u32) -> bool {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        chance.happens(share)
    }

    /// A beginning of `bytes`.
    fn torn(&self, bytes: &Bytes) -> Bytes {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.slice(..chance.pick(bytes.len().max(1)))
    }

    /// Makes a call, as far as that goes well.
    async fn make<T>(
        &self,
        call: impl Future<Output = Result<T, BlobError>> + Send,
    ) -> Result<T, BlobError> {
        if self.happens(self.faults.failing) {
            return Err(fault("was not asked"));
        }
        let answer = call.await?;
        if self.happens(self.faults.answers_lost) {
            return Err(fault("did as asked, and its answer was lost"));
        }
        Ok(answer)
    }
}

fn fault(how: &str) -> BlobError {
    BlobError::Unavailable {
        message: format!("it {how}, as its seed has it"),
    }
}

#[async_trait]
impl BlobStore for FaultyStore {
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), BlobError> {
        self.hand.make(self.store.put(key, bytes)).await
    }

    async fn upload(
        &self,
        key: &Key,
        len: u64,
        digest: &Digest,
    ) -> Result<Box<dyn Upload>, BlobError> {
        let beginning = self.store.upload(key, len, digest);
        let upload = self.hand.make(beginning).await?;
        Ok(Box::new(FaultyUpload {
            upload,
            hand: self.hand.clone(),
        }))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let chunks = self.hand.make(self.store.get(key, range)).await?;
        let hand = self.hand.clone();
        let torn = chunks.flat_map(move |chunk| match chunk {
            Ok(chunk) if hand.happens(hand.faults.torn) => {
                let broken = Err(fault("sent a part"));
                stream::iter(vec![Ok(hand.torn(&chunk)), broken])
            }
            chunk => stream::iter(vec![chunk]),
        });
        Ok(torn.boxed())
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        self.hand.make(self.store.head(key)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.hand.make(self.store.delete(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        self.hand.make(self.store.list(prefix)).await
    }
}

struct FaultyUpload {
    upload: Box<dyn Upload>,
    hand: Hand,
}

#[async_trait]
impl Upload for FaultyUpload {
    fn offset(&self) -> u64 {
        self.upload.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        if self.hand.happens(self.hand.faults.torn) {
            self.upload.write(self.hand.torn(&bytes)).await?;
            return Err(fault("took a part"));
        }
        self.hand.make(self.upload.write(bytes)).await
    }

    async fn finish(self: Box<Self>) -> Result<(), BlobError> {
        self.hand.make(self.upload.finish()).await
    }
}
