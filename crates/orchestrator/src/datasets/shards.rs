//! From a data set to shards: one for each client of a partition.

use artifacts::{BlobStore, Kind};
use federation::Digest;
use federation::partition::{PartitionError, PartitionSpec, assign, assign_unlabelled};
use futures::future::try_join_all;
use thiserror::Error;

use super::Manifest;
use super::examples::{Answers, Examples, ExamplesError, ExamplesRef};
use crate::store::{Store, StoreError};
use crate::trace::block;

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

/// Shards that are looked for at once.
const HEADS: usize = 32;

/// What a partition is called in the run store.
#[must_use]
pub fn digest_of(partition: &PartitionSpec) -> Digest {
    // The debug form names every field of the plain data that a partition is.
    Digest::of(format!("{partition:?}").as_bytes())
}

/// The shards of a partition, one for each client in order; made when first asked for,
/// and again, to the same bytes, when some were removed since.
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
    let partition_digest = digest_of(partition);
    let known: Option<Vec<ExamplesRef>> =
        store.partition(dataset_digest, &partition_digest).await?;
    if let Some(shards) = known
        && are_there(blobs, &shards).await?
    {
        return Ok(shards);
    }
    let width = dataset.features.len();
    let (all, assignment) = deal(blobs, dataset, partition).await?;
    let mut shards = Vec::with_capacity(assignment.len());
    for rows in assignment {
        shards.push(all.select(&rows).store(blobs, Kind::Shard, width).await?);
    }
    store
        .put_partition(dataset_digest, &partition_digest, &shards)
        .await?;
    Ok(shards)
}

async fn are_there(blobs: &dyn BlobStore, shards: &[ExamplesRef]) -> Result<bool, ExamplesError> {
    for some in shards.chunks(HEADS) {
        let heads: Vec<_> = some
            .iter()
            .map(|shard| blobs.head(&shard.blob.key))
            .collect();
        let lens = try_join_all(heads).await?;
        if lens.iter().any(Option::is_none) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The training rows of a data set, and which of them each client would get.
///
/// # Errors
///
/// [`ShardsError`].
pub async fn deal(
    blobs: &dyn BlobStore,
    dataset: &Manifest,
    partition: &PartitionSpec,
) -> Result<(Examples, Vec<Vec<u32>>), ShardsError> {
    let all = Examples::load(blobs, &dataset.train, dataset.layout()).await?;
    let classes = u32::try_from(dataset.classes.len()).unwrap_or(u32::MAX);
    let partition = *partition;
    // Off the runtime's threads: there may be millions of rows.
    let dealing = block(move || {
        let assignment = match &all.answers {
            Answers::Labels(labels) => assign(labels, classes, &partition),
            Answers::Targets(targets) => assign_unlabelled(targets.len(), &partition),
        }?;
        Ok((all, assignment))
    });
    match dealing.await {
        Ok(dealt) => dealt,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}
