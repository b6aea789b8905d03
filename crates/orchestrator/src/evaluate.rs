//! From a model to its metrics on the test rows.

use std::error::Error;

use artifacts::{ArtifactStore, BlobRef, fetch};
use proto::engine::{EngineError, Input, Inputs, Loading};
use proto::v1::{Body, EvaluateResponse};

use crate::admit::Work;
use crate::checkpoint::ModelFile;
use crate::study::Study;

/// Measures a model of the run.
///
/// # Errors
///
/// [`EngineError`].
pub async fn evaluate(
    study: &Study,
    work: &Work,
    model: &ModelFile,
) -> Result<EvaluateResponse, EngineError> {
    let architecture = work.architecture();
    let parameters = model.body(architecture);
    let examples = work.dataset.test.body(work.dataset.features.len());
    let inputs = Inputs {
        parameters: stored(&study.blobs, &parameters, &model.parameters),
        examples: stored(&study.blobs, &examples, &work.dataset.test.blob),
    };
    study.engine.evaluate(architecture, inputs).await
}

/// A body whose bytes are in the store.
#[must_use]
pub fn stored<'a>(blobs: &'a ArtifactStore, body: &'a Body, blob: &'a BlobRef) -> Input<'a> {
    let load = move || -> Loading<'a> {
        Box::pin(async move {
            let fetched = fetch(blobs, blob).await;
            fetched.map_err(|error| -> Box<dyn Error + Send + Sync> { Box::new(error) })
        })
    };
    Input {
        body,
        load: Box::new(load),
    }
}
