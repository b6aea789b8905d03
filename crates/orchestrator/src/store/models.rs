//! Published models.

use federation::event::Event;
use federation::run::RunState;
use federation::{RunId, Timestamp};
use sqlx::any::AnyRow;

use super::statements::{Operation, Subject};
use super::{Store, StoreError, count, encoded, events, json, runs, stored, text};
use crate::publish::ModelManifest;

/// A published model.
#[derive(Debug, Clone)]
pub struct ModelRow {
    /// The name.
    pub name: String,
    /// Counts versions of the name, from 1.
    pub version: u32,
    /// The run that trained it.
    pub run: RunId,
    /// What it is made of.
    pub manifest: ModelManifest,
    /// When it was published.
    pub created_at: Timestamp,
}

impl Store {
    /// Publishes a run's model under the next version of `name` and completes the run, both or
    /// neither. One that a person paused or ended in the meantime publishes nothing; one that has
    /// published this model keeps to it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn publish(
        &self,
        name: &str,
        run: RunId,
        manifest: &ModelManifest,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<ModelRow>, StoreError> {
        let mut write = self.write().await?;
        let query = sqlx::query("SELECT * FROM models WHERE run = $1").bind(run.to_string());
        let known = write.one(Subject::ModelVersion, query).await?;
        if let Some(known) = known.as_ref().map(read).transpose()? {
            return Ok((known.manifest == *manifest).then_some(known));
        }
        let Some(state) = runs::state_in_work(&mut write, run).await? else {
            return Ok(None);
        };
        let query = sqlx::query(
            "INSERT INTO models (name, version, run, manifest, created_at)
             VALUES ($1, (SELECT COALESCE(MAX(version), 0) + 1 FROM models WHERE name = $1),
                     $2, $3, $4)
             RETURNING *",
        )
        .bind(name)
        .bind(run.to_string())
        .bind(encoded(manifest)?)
        .bind(stored(now.0));
        let row = write
            .changed(Operation::Insert, Subject::ModelVersion, query)
            .await?;
        let model = read(&row)?;
        let event = Event::ModelPublished {
            name: model.name.clone(),
            version: model.version,
            digest: manifest.model.digest,
        };
        events::append(&mut write, run, now, &event).await?;
        runs::set_state(&mut write, run, state, RunState::Completed, reason, now).await?;
        self.commit(write).await?;
        Ok(Some(model))
    }

    /// A version of a model; the newest when none is named.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn model(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<ModelRow>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM models WHERE name = $1 AND ($2 IS NULL OR version = $2)
             ORDER BY version DESC LIMIT 1",
        )
        .bind(name)
        .bind(version.map(i64::from));
        let row = self.one(Subject::ModelVersion, query).await?;
        row.as_ref().map(read).transpose()
    }

    /// The model that a run published.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn model_of(&self, run: RunId) -> Result<Option<ModelRow>, StoreError> {
        let query = sqlx::query("SELECT * FROM models WHERE run = $1").bind(run.to_string());
        let row = self.one(Subject::ModelVersion, query).await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest version of each name, by name, after `after`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn newest_models(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ModelRow>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM models AS m WHERE name > $1
                 AND version = (SELECT MAX(version) FROM models AS n WHERE n.name = m.name)
             ORDER BY name LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit));
        let rows = self.all(Subject::ModelVersion, query).await?;
        rows.iter().map(read).collect()
    }

    /// The versions of one name, the newest first, before `before`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn versions(
        &self,
        name: &str,
        before: u32,
        limit: u32,
    ) -> Result<Vec<ModelRow>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM models WHERE name = $1 AND version < $2
             ORDER BY version DESC LIMIT $3",
        )
        .bind(name)
        .bind(i64::from(before))
        .bind(i64::from(limit));
        let rows = self.all(Subject::ModelVersion, query).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<ModelRow, StoreError> {
    Ok(ModelRow {
        name: sqlx::Row::try_get(row, "name")?,
        version: count(row, "version")?,
        run: text(row, "run")?,
        manifest: json(row, "manifest")?,
        created_at: Timestamp(count(row, "created_at")?),
    })
}
