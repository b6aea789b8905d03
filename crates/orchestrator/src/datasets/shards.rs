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

/// Shards that are looked for, or stored, at once.
const SHARDS_AT_ONCE: usize = 32;

/// Bytes of shards that are stored at once.
const TOGETHER_BYTES: usize = 2 * 1024 * 1024;

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
    for some in together(&assignment, width) {
        let stored = some
            .iter()
            .map(|rows| all.select(rows).store(blobs, Kind::Shard, width));
        shards.extend(try_join_all(stored).await?);
    }
    store
        .put_partition(dataset_digest, &partition_digest, &shards)
        .await?;
    Ok(shards)
}

/// Cuts the rows of clients, of `width` features each, into groups that are stored together: of small
/// shards, which take longer to be kept than to be written.
fn together(assignment: &[Vec<u32>], width: usize) -> impl Iterator<Item = &[Vec<u32>]> {
    let row = width.saturating_mul(size_of::<f32>());
    let longest = assignment.iter().map(Vec::len).max().unwrap_or(0);
    let shard = row.saturating_mul(longest).max(1);
    assignment.chunks((TOGETHER_BYTES / shard).clamp(1, SHARDS_AT_ONCE))
}

async fn are_there(blobs: &dyn BlobStore, shards: &[ExamplesRef]) -> Result<bool, ExamplesError> {
    for some in shards.chunks(SHARDS_AT_ONCE) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_shards_are_stored_together_and_large_ones_alone() {
        let groups = |clients: usize, rows: usize, width| -> Vec<usize> {
            let assignment = vec![vec![0; rows]; clients];
            together(&assignment, width).map(<[_]>::len).collect()
        };
        assert_eq!(groups(70, 10, 64), [32, 32, 6]);
        assert_eq!(groups(5, 1000, 256), [2, 2, 1]);
        assert_eq!(groups(2, 1 << 20, 784), [1, 1]);
        assert_eq!(groups(3, 0, 0), [3]);
    }
}
