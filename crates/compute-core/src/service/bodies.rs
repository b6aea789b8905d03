//! Held bodies, read as parameters and examples.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use federation::model::{Architecture, Loss};
use proto::body;
use proto::v1::{Dtype, TensorMeta};
use tonic::Status;

use super::fault;
use crate::cache::{Cache, Held};
use crate::engine::Examples;

/// A model's parameters.
pub(super) struct Parameters(Arc<Held>);

impl Parameters {
    pub(super) fn held(cache: &Cache, digest: &str, model: &Architecture) -> Result<Self, Status> {
        let held = held(cache, "parameters_digest", digest)?;
        if held.tensors != body::parameter_tensors(model) {
            return Err(fault::shape(format!(
                "the tensors of body {digest} are not those of the model"
            )));
        }
        Ok(Self(held))
    }

    pub(super) fn numbers(&self) -> Cow<'_, [f32]> {
        body::as_numbers(&self.0.bytes)
    }

    pub(super) fn num_bytes(&self) -> usize {
        self.0.bytes.len()
    }
}

/// Rows with what a model is held against, as they are held.
pub(super) struct Labelled {
    digest: String,
    rows: u64,
    features: Bytes,
    answers: Bytes,
    loss: Loss,
}

impl Labelled {
    fn held(cache: &Cache, digest: &str, model: &Architecture) -> Result<Self, Status> {
        let held = held(cache, "examples_digest", digest)?;
        let (features, rows) = find_features(&held, digest, model)?;
        let rows = rows as u64;
        let (name, dtype, shape) = match model.loss() {
            Loss::Regression => ("targets", Dtype::F32, vec![rows, model.outputs() as u64]),
            Loss::Classification | Loss::NextToken => ("labels", Dtype::I64, vec![rows]),
        };
        let (answers, meta) = tensor(&held, digest, name, dtype)?;
        if meta.shape != shape {
            return Err(fault::shape(format!(
                "tensor {name} of body {digest} has the shape {:?}; it must be {shape:?}, for \
                 features have {rows} rows",
                meta.shape
            )));
        }
        Ok(Self {
            digest: digest.to_owned(),
            rows,
            features,
            answers,
            loss: model.loss(),
        })
    }

    pub(super) fn num_rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn num_bytes(&self) -> usize {
        self.features.len() + self.answers.len()
    }

    /// The rows as the engine reads them. Work for a thread that may be kept busy, and memory for
    /// as long as the computation lasts.
    pub(super) fn rows(&self) -> Result<Rows<'_>, Status> {
        let features = body::as_numbers(&self.features);
        if self.loss == Loss::Regression {
            let targets = body::as_numbers(&self.answers);
            return Ok(Rows {
                features,
                answers: Answers::Targets(targets),
            });
        }
        let labels = body::as_numbers::<i64>(&self.answers)
            .iter()
            .map(|&label| u32::try_from(label).ok())
            .collect::<Option<Vec<u32>>>();
        let below = || fault::shape(format!("body {} holds a label below 0", self.digest));
        Ok(Rows {
            features,
            answers: Answers::Labels(labels.ok_or_else(below)?),
        })
    }
}

/// Rows with what a model is held against, as numbers.
pub(super) struct Rows<'a> {
    features: Cow<'a, [f32]>,
    answers: Answers<'a>,
}

enum Answers<'a> {
    Labels(Vec<u32>),
    Targets(Cow<'a, [f32]>),
}

impl Rows<'_> {
    pub(super) fn examples(&self, model: &Architecture) -> Result<Examples<'_>, Status> {
        let examples = match &self.answers {
            Answers::Labels(labels) => Examples::new(model, &self.features, labels),
            Answers::Targets(targets) => Examples::with_targets(model, &self.features, targets),
        };
        examples.map_err(fault::examples)
    }
}

/// Parameters of a model, and rows with what it is held against.
pub(super) fn labelled(
    cache: &Cache,
    (parameters, examples): (&str, &str),
    model: &Architecture,
) -> Result<(Parameters, Labelled), Status> {
    are_held(cache, (parameters, "examples_digest", examples))?;
    let parameters = Parameters::held(cache, parameters, model)?;
    Ok((parameters, Labelled::held(cache, examples, model)?))
}

/// The rows of a body with the one tensor `features`, and how many there are.
pub(super) fn features(
    cache: &Cache,
    digest: &str,
    model: &Architecture,
) -> Result<(Bytes, usize), Status> {
    let held = held(cache, "features_digest", digest)?;
    find_features(&held, digest, model)
}

fn find_features(
    held: &Held,
    digest: &str,
    model: &Architecture,
) -> Result<(Bytes, usize), Status> {
    let (features, meta) = tensor(held, digest, "features", Dtype::F32)?;
    match meta.shape[..] {
        [rows, inputs] if inputs == model.inputs() as u64 => {
            Ok((features, usize::try_from(rows).unwrap_or(usize::MAX)))
        }
        _ => Err(fault::shape(format!(
            "tensor features of body {digest} has the shape {:?}; the model takes [rows, {}]",
            meta.shape,
            model.inputs()
        ))),
    }
}

/// Looks whether both bodies of a call are there, before any of them is used: a refused call uses none.
pub(super) fn are_held(
    cache: &Cache,
    (parameters, field, other): (&str, &str, &str),
) -> Result<(), Status> {
    for (field, digest) in [("parameters_digest", parameters), (field, other)] {
        if !cache.holds(&fault::digest(field, digest)?) {
            return Err(fault::not_held(digest));
        }
    }
    Ok(())
}

fn held(cache: &Cache, field: &str, digest: &str) -> Result<Arc<Held>, Status> {
    let parsed = fault::digest(field, digest)?;
    cache.get(&parsed).ok_or_else(|| fault::not_held(digest))
}

fn tensor<'a>(
    held: &'a Held,
    digest: &str,
    name: &str,
    dtype: Dtype,
) -> Result<(Bytes, &'a TensorMeta), Status> {
    let mut offset = 0;
    for meta in &held.tensors {
        let len = body::tensors_len(std::slice::from_ref(meta)).unwrap_or(u64::MAX);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if meta.name == name && meta.dtype() == dtype {
            return Ok((held.bytes.slice(offset..offset + len), meta));
        }
        offset += len;
    }
    Err(fault::shape(format!(
        "body {digest} has no tensor {name} of {}",
        dtype.as_str_name()
    )))
}
