//! From a model to its metrics on the test rows.

use artifacts::{ArtifactStore, BlobError, BlobRef, BlobStore, verified};
use proto::engine::{EngineError, Input, Inputs, Loading, Pieces, Unloaded};
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
    let examples = work.dataset.test.body(work.dataset.layout());
    let inputs = Inputs {
        parameters: current(&study.blobs, &parameters, model),
        examples: stored(&study.blobs, &examples, &work.dataset.test.blob),
    };
    let engine = study.engine.with_kernels(work.spec.kernel_class);
    engine.evaluate(architecture, inputs).await
}

/// The parameters of a model that was mostly just made, so that its file need not be hashed again.
fn current<'a>(blobs: &'a ArtifactStore, body: &'a Body, model: &'a ModelFile) -> Input<'a> {
    let BlobRef {
        key, offset, len, ..
    } = &model.parameters;
    let load = move || -> Loading<'a> {
        Box::pin(async move {
            let verified = blobs.verify(key, model.len, &model.digest).await;
            verified.map_err(unloaded)?;
            let pieces = blobs.get(key, Some(*offset..offset + len)).await;
            Ok(Pieces::of(pieces.map_err(unloaded)?))
        })
    };
    Input {
        body,
        load: Box::new(load),
    }
}

/// A body whose bytes are in the store.
#[must_use]
pub fn stored<'a>(blobs: &'a ArtifactStore, body: &'a Body, blob: &'a BlobRef) -> Input<'a> {
    let load = move || -> Loading<'a> {
        Box::pin(async move {
            let pieces = verified(blobs, blob).await;
            Ok(Pieces::of(
                pieces.map_err(|error| -> Unloaded { Box::new(error) })?,
            ))
        })
    };
    Input {
        body,
        load: Box::new(load),
    }
}

fn unloaded(error: BlobError) -> Unloaded {
    Box::new(error)
}
