//! From a data set to shards: one for each client of a partition.

use artifacts::{BlobStore, Kind};
use federation::Digest;
use federation::partition::{PartitionError, PartitionSpec, assign};
use thiserror::Error;

use super::Manifest;
use super::examples::{Examples, ExamplesError, ExamplesRef};
use crate::store::{Store, StoreError};

/// Why shards could not be made.
#[derive(Debug, Error)]
pub enum ShardsError {
    /// The data set cannot be dealt like this.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The data set cannot be read, or a shard not written.
    #[error(transparent)]
    Examples(#[from] ExamplesError),
    /// They cannot be remembered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The shards of a partition, one for each client in order; made when first asked for.
///
/// # Errors
///
/// [`ShardsError`].
pub async fn shards(
    store: &Store,
    blobs: &dyn BlobStore,
    dataset: &Manifest,
    dataset_digest: &Digest,
    partition: &PartitionSpec,
) -> Result<Vec<ExamplesRef>, ShardsError> {
    // The debug form names every field of the plain data that a partition is.
    let partition_digest = Digest::of(format!("{partition:?}").as_bytes());
    if let Some(shards) = store.partition(dataset_digest, &partition_digest).await? {
        return Ok(shards);
    }
    let width = dataset.features.len();
    let all = Examples::load(blobs, &dataset.train, width).await?;
    let classes = u32::try_from(dataset.classes.len()).unwrap_or(u32::MAX);
    let mut shards = Vec::new();
    for rows in assign(&all.labels, classes, partition)? {
        shards.push(all.select(&rows).store(blobs, Kind::Shard, width).await?);
    }
    store
        .put_partition(dataset_digest, &partition_digest, &shards)
        .await?;
    Ok(shards)
}
