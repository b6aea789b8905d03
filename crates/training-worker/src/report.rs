//! The way of an update to the store, where it is too large to go with its report.

use std::time::Duration;

use artifacts::{BlobError, BlobStore, Key};
use clock::Clock;
use proto::body::Passing;
use telemetry::metrics::IntCounter;
use tracing::debug;

use crate::backoff::Backoff;

/// An upload that gains no byte for this long is given up. One that advances never is.
const IDLE: Duration = Duration::from_secs(60);

/// Stores a delta, going on where an earlier try broke. Counts further tries in `retries`.
///
/// # Errors
///
/// The last [`BlobError`] when the store refuses the bytes, or is away for too long.
pub async fn store(
    blobs: &dyn BlobStore,
    key: &Key,
    delta: &Passing,
    clock: &dyn Clock,
    retries: &IntCounter,
) -> Result<(), BlobError> {
    let mut backoff = Backoff::default();
    let mut furthest = 0;
    let mut advanced_at = clock.elapsed();
    loop {
        let offset = &mut 0;
        match try_once(blobs, key, delta, offset).await {
            Err(error @ BlobError::Unavailable { .. }) => {
                if *offset > furthest {
                    furthest = *offset;
                    advanced_at = clock.elapsed();
                    backoff = Backoff::default();
                }
                if clock.elapsed().saturating_sub(advanced_at) > IDLE {
                    return Err(error);
                }
                debug!(%key, offset, error = %error, "upload broke, going on");
                retries.inc();
                backoff.wait(clock).await;
            }
            ended => return ended,
        }
    }
}

async fn try_once(
    blobs: &dyn BlobStore,
    key: &Key,
    delta: &Passing,
    offset: &mut u64,
) -> Result<(), BlobError> {
    let mut upload = blobs
        .upload(key, delta.len() as u64, delta.digest())
        .await?;
    *offset = upload.offset();
    for chunk in delta.chunks_from(usize::try_from(*offset).unwrap_or(usize::MAX)) {
        upload.write(chunk).await?;
    }
    upload.finish().await
}
