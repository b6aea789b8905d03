//! From a checkpoint to a model version that never changes.

use artifacts::{BlobError, BlobRef, BlobStore, Key, Kind};
use bytes::Bytes;
use federation::Digest;
use federation::model::Architecture;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checkpoint::{self, ModelFile, UpdateEntry};
use crate::datasets::text::Vocabulary;
use crate::datasets::{self, Scaling};
use crate::store::{ModelRow, StoreError};
use crate::study::Study;

/// What a model version is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// The model's shape.
    pub architecture: Architecture,
    /// The model.
    pub model: ModelFile,
    /// The columns it reads, in the order of a row's numbers.
    pub features: Vec<String>,
    /// The column that it was trained to tell, a class or a number.
    pub label: String,
    /// The classes, in the order of their numbers.
    pub classes: Vec<String>,
    /// What is done to each number first.
    pub scaling: Scaling,
    /// Rounds behind it.
    pub round: u32,
    /// On the test rows; none for a regression.
    pub accuracy: Option<f64>,
    /// On the test rows.
    pub loss: f64,
    /// Of the job.
    pub job_digest: Digest,
    /// Of the data set.
    pub dataset_digest: Digest,
    /// Of the model file before it in its run.
    pub parent: Option<Digest>,
    /// The updates of its last round.
    pub updates: Vec<UpdateEntry>,
    /// Whether it was trained on a text: features and classes are its characters then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_text: bool,
}

impl ModelManifest {
    /// The characters that it reads and yields, if it was trained on a text.
    #[must_use]
    pub fn vocabulary(&self) -> Option<Vocabulary> {
        self.is_text.then(|| Vocabulary::of_classes(&self.classes))
    }
}

/// Why a model was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store did not do its part.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The version cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Publishes the model of `checkpoint` under the next version of `name` and completes its run for
/// `reason`: the file first, the manifest next, the version and the run's end last. None when the
/// run was paused or ended in the meantime.
///
/// # Errors
///
/// [`PublishError`].
pub async fn publish(
    study: &Study,
    name: &str,
    checkpoint: &checkpoint::Manifest,
    dataset: &datasets::Manifest,
    reason: &str,
) -> Result<Option<ModelRow>, PublishError> {
    let model = keep(&study.blobs, &checkpoint.model).await?;
    let outcome = checkpoint.outcome.as_ref();
    let manifest = ModelManifest {
        architecture: checkpoint.architecture.clone(),
        model,
        features: dataset.features.clone(),
        label: dataset.label.clone(),
        classes: dataset.classes.clone(),
        scaling: dataset.scaling.clone(),
        round: checkpoint.round,
        accuracy: outcome.and_then(|outcome| outcome.accuracy),
        loss: outcome.map_or(0.0, |outcome| outcome.loss),
        job_digest: checkpoint.job_digest,
        dataset_digest: checkpoint.dataset_digest,
        parent: checkpoint.parent,
        updates: checkpoint.updates.clone(),
        is_text: dataset.is_text,
    };
    let json = Bytes::from(crate::store::encoded(&manifest)?);
    study
        .blobs
        .put(&Key::content(Kind::Model, &Digest::of(&json)), json)
        .await?;
    Ok(study
        .store
        .publish(name, checkpoint.run, &manifest, reason, study.now())
        .await?)
}

/// Copies a model file to the place named by its content, where no retention of runs reaches it.
async fn keep(blobs: &dyn BlobStore, model: &ModelFile) -> Result<ModelFile, BlobError> {
    let key = Key::content(Kind::Model, &model.digest);
    let mut upload = blobs.upload(&key, model.len, &model.digest).await?;
    let mut chunks = blobs
        .get(&model.parameters.key, Some(upload.offset()..model.len))
        .await?;
    while let Some(chunk) = chunks.try_next().await? {
        upload.write(chunk).await?;
    }
    upload.finish().await?;
    Ok(ModelFile {
        parameters: BlobRef {
            key,
            ..model.parameters.clone()
        },
        ..model.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_from_before_there_were_texts_keeps_its_bytes() {
        let digest = Digest::of(b"x");
        let stored = format!(
            r#"{{"architecture":[{{"kind":"linear","inputs":1,"outputs":2}}],"model":{{"digest":"{digest}","len":24,"parameters":{{"key":"models/a","offset":8,"len":16,"digest":"{digest}"}}}},"features":["a"],"label":"l","classes":["0","1"],"scaling":{{"offset":[0.0],"factor":[1.0]}},"round":1,"accuracy":0.5,"loss":0.5,"job_digest":"{digest}","dataset_digest":"{digest}","parent":null,"updates":[]}}"#
        );
        let manifest: ModelManifest = serde_json::from_str(&stored).unwrap();
        assert_eq!(manifest.vocabulary(), None);
        assert_eq!(serde_json::to_string(&manifest).unwrap(), stored);
    }
}
