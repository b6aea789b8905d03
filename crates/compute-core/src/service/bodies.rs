//! Held bodies, read as parameters and examples.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use federation::model::Architecture;
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

/// Rows with their classes, as they are held.
pub(super) struct Labelled {
    digest: String,
    features: Bytes,
    labels: Bytes,
}

impl Labelled {
    pub(super) fn held(cache: &Cache, digest: &str, model: &Architecture) -> Result<Self, Status> {
        let held = held(cache, "examples_digest", digest)?;
        let (features, rows) = find_features(&held, digest, model)?;
        let (labels, meta) = tensor(&held, digest, "labels", Dtype::I64)?;
        if meta.shape != [rows as u64] {
            return Err(fault::shape(format!(
                "tensor labels of body {digest} has the shape {:?}; features have {rows} rows",
                meta.shape
            )));
        }
        let digest = digest.to_owned();
        Ok(Self {
            digest,
            features,
            labels,
        })
    }

    pub(super) fn num_bytes(&self) -> usize {
        self.features.len() + self.labels.len()
    }

    /// The rows as the engine reads them. Work for a thread that may be kept busy, and memory for
    /// as long as the computation lasts.
    pub(super) fn rows(&self) -> Result<Rows<'_>, Status> {
        let labels = body::as_numbers::<i64>(&self.labels)
            .iter()
            .map(|&label| u32::try_from(label).ok())
            .collect::<Option<Vec<u32>>>();
        let below = || fault::shape(format!("body {} holds a label below 0", self.digest));
        Ok(Rows {
            features: body::as_numbers(&self.features),
            labels: labels.ok_or_else(below)?,
        })
    }
}

/// Rows with their classes, as numbers.
pub(super) struct Rows<'a> {
    features: Cow<'a, [f32]>,
    labels: Vec<u32>,
}

impl Rows<'_> {
    pub(super) fn examples(&self, model: &Architecture) -> Result<Examples<'_>, Status> {
        Examples::new(model, &self.features, &self.labels).map_err(fault::examples)
    }
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
