//! From a model to its metrics on the test rows.

use std::sync::Arc;

use artifacts::{ArtifactStore, BlobError, BlobRef, BlobStore, verified};
use federation::{Digest, KernelClass};
use proto::engine::{EngineError, Input, Inputs, Loading, Pieces, Unloaded};
use proto::v1::{Body, EvaluateResponse};

use crate::checkpoint::{Manifest, ModelFile};
use crate::datasets;
use crate::study::Study;
use crate::trace::attempt;

/// What the models of a run are measured on, and with.
#[derive(Debug, Clone)]
pub struct Evaluator {
    /// The data set, of which the test rows are used.
    pub dataset: Arc<datasets::Manifest>,
    /// The kernels, if the run is pinned to a class of them.
    pub kernel_class: Option<KernelClass>,
}

impl Evaluator {
    /// Measures the model of a round.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn measure(
        &self,
        study: &Study,
        manifest: &Manifest,
    ) -> Result<EvaluateResponse, EngineError> {
        let span = telemetry::span!("evaluate", "round" = manifest.round);
        let phase = study.metrics.rounds.seconds.of("evaluating").start();
        let evaluation = attempt(&span, self.evaluate(study, manifest)).await?;
        phase.stop();
        span.set("loss", evaluation.loss);
        evaluation
            .accuracy
            .inspect(|share| span.set("accuracy", *share));
        Ok(evaluation)
    }

    async fn evaluate(
        &self,
        study: &Study,
        manifest: &Manifest,
    ) -> Result<EvaluateResponse, EngineError> {
        let Manifest {
            architecture,
            model,
            ..
        } = manifest;
        let parameters = model.body(architecture);
        let test = &self.dataset.test;
        let examples = test.body(self.dataset.layout());
        let inputs = Inputs {
            parameters: current(&study.blobs, &parameters, model),
            examples: stored(&study.blobs, &examples, &test.blob),
        };
        let engine = study.engine.with_kernels(self.kernel_class);
        engine.evaluate(architecture, inputs).await
    }
}

/// Gives compute-core the model of a round, which is new to everybody. Nobody trains from the parameters
/// `before` it any more.
///
/// # Errors
///
/// [`EngineError`].
pub async fn bring(study: &Study, manifest: &Manifest, before: &Digest) -> Result<(), EngineError> {
    let model = &manifest.model;
    let parameters = model.body(&manifest.architecture);
    let input = current(&study.blobs, &parameters, model);
    study.engine.bring(&input, before).await
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
