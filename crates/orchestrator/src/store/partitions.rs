//! Which partitions there are.

use federation::Digest;

use super::statements::Subject;
use super::{Store, StoreError, json, text};
use crate::datasets::ExamplesRef;

/// A partition that was dealt.
#[derive(Debug, Clone)]
pub struct PartitionRow {
    /// Of the data set.
    pub dataset: Digest,
    /// Of the rule that dealt it.
    pub partition: Digest,
    /// The shard of each client.
    pub shards: Vec<ExamplesRef>,
}

impl Store {
    /// Every partition that was dealt, in no order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError> {
        let query = sqlx::query("SELECT * FROM partitions");
        let rows = self.all(Subject::Partition, query).await?;
        let partition = |row| {
            Ok(PartitionRow {
                dataset: text(row, "dataset_digest")?,
                partition: text(row, "partition_digest")?,
                shards: json(row, "shards")?,
            })
        };
        rows.iter().map(partition).collect()
    }
}
