//! Data sets by name, and the shards of their partitions.

use federation::{Digest, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;

use super::statements::{Operation, Subject};
use super::{Store, StoreError, count, encoded, json, stored, text};
use crate::datasets::Manifest;

/// A stored data set.
#[derive(Debug, Clone)]
pub struct DatasetRow {
    /// Of the manifest.
    pub digest: Digest,
    /// What the data set is made of.
    pub manifest: Manifest,
    /// When the name was given to it.
    pub created_at: Timestamp,
}

impl Store {
    /// Gives a name to a data set: in place of the one that had it, or only if none has. Answers
    /// with the one that has it now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn put_dataset(
        &self,
        row: DatasetRow,
        replace: bool,
    ) -> Result<DatasetRow, StoreError> {
        let mut write = self.write().await?;
        let query = sqlx::query("SELECT * FROM datasets WHERE name = $1").bind(&row.manifest.name);
        let known = write.one(Subject::Dataset, query).await?;
        let known = known.as_ref().map(read).transpose()?;
        if let Some(known) = known.filter(|known| !replace || known.digest == row.digest) {
            return Ok(known);
        }
        let query = sqlx::query(
            "INSERT INTO datasets (name, digest, manifest, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET digest = excluded.digest,
                 manifest = excluded.manifest, created_at = excluded.created_at",
        )
        .bind(&row.manifest.name)
        .bind(row.digest.to_string())
        .bind(encoded(&row.manifest)?)
        .bind(stored(row.created_at.0));
        let insert = Operation::Insert;
        write.then(insert, Subject::Dataset, query).await?;
        self.commit(write).await?;
        Ok(row)
    }

    /// The data set of this name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn dataset(&self, name: &str) -> Result<Option<DatasetRow>, StoreError> {
        let query = sqlx::query("SELECT * FROM datasets WHERE name = $1").bind(name);
        let row = self.one(Subject::Dataset, query).await?;
        row.as_ref().map(read).transpose()
    }

    /// Data sets by name, those after `after`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn datasets(&self, after: &str, limit: u32) -> Result<Vec<DatasetRow>, StoreError> {
        let query = sqlx::query("SELECT * FROM datasets WHERE name > $1 ORDER BY name LIMIT $2")
            .bind(after)
            .bind(i64::from(limit));
        let rows = self.all(Subject::Dataset, query).await?;
        rows.iter().map(read).collect()
    }

    /// Remembers the shards of a partition.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn put_partition(
        &self,
        dataset: &Digest,
        partition: &Digest,
        shards: &impl Serialize,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO partitions (dataset_digest, partition_digest, shards)
             VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(dataset.to_string())
        .bind(partition.to_string())
        .bind(encoded(shards)?);
        self.change(Operation::Insert, Subject::Partition, query)
            .await?;
        Ok(())
    }

    /// The shards of a partition, if they were made before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn partition<T: DeserializeOwned>(
        &self,
        dataset: &Digest,
        partition: &Digest,
    ) -> Result<Option<T>, StoreError> {
        let query = sqlx::query(
            "SELECT shards FROM partitions WHERE dataset_digest = $1 AND partition_digest = $2",
        )
        .bind(dataset.to_string())
        .bind(partition.to_string());
        let row = self.one(Subject::Partition, query).await?;
        row.as_ref().map(|row| json(row, "shards")).transpose()
    }
}

fn read(row: &AnyRow) -> Result<DatasetRow, StoreError> {
    Ok(DatasetRow {
        digest: text(row, "digest")?,
        manifest: json(row, "manifest")?,
        created_at: Timestamp(count(row, "created_at")?),
    })
}
