//! Rows of a file for a model that is published: to compute-core, and its answer as CSV.

use std::fs::File;
use std::io::BufReader;

use bytes::Bytes;
use federation::Digest;
use federation::model::Loss;
use proto::body;
use proto::v1::{Body, Dtype, TensorMeta};

use crate::datasets::examples::Answers;
use crate::datasets::table::{KnownLabels, Rows, TableError, read_rows};
use crate::publish::ModelManifest;

/// Rows on their way to compute-core.
pub(super) struct Prepared {
    pub(super) body: Body,
    pub(super) bytes: Bytes,
}

/// Rows of a file, with what the model is held against if that was asked for.
pub(super) struct Known {
    /// `[rows, n]`.
    pub(super) features: Vec<f32>,
    answers: Option<Answers>,
}

impl Known {
    /// Reads the columns that the model takes; with `labelled`, also the one that it tells.
    pub(super) fn read(
        file: File,
        model: &ModelManifest,
        labelled: bool,
    ) -> Result<Self, TableError> {
        let file = BufReader::new(file);
        if labelled && model.architecture.loss() == Loss::Regression {
            let columns = [&model.features[..], std::slice::from_ref(&model.label)].concat();
            let numbers = read_rows(file, &columns, None)?.features;
            return Ok(Self::with_targets(&numbers, model.features.len()));
        }
        let known = KnownLabels {
            column: &model.label,
            classes: &model.classes,
        };
        let Rows { features, labels } =
            read_rows(file, &model.features, labelled.then_some(known))?;
        Ok(Self {
            features,
            answers: labels.map(Answers::Labels),
        })
    }

    /// Takes rows of `width` features apart that have their target behind them.
    fn with_targets(numbers: &[f32], width: usize) -> Self {
        let rows = || numbers.chunks_exact(width + 1);
        let targets = rows().map(|row| row[width]).collect();
        Self {
            features: rows().flat_map(|row| &row[..width]).copied().collect(),
            answers: Some(Answers::Targets(targets)),
        }
    }

    /// As compute-core takes rows of `width` features.
    pub(super) fn body(&self, width: usize) -> Prepared {
        let rows = self.features.len() / width.max(1);
        let numbers = body::as_bytes(&self.features);
        let features = tensor("features", Dtype::F32, &[rows, width]);
        match &self.answers {
            None => prepared(Bytes::copy_from_slice(numbers), vec![features]),
            Some(Answers::Labels(labels)) => {
                let labels: Vec<i64> = labels.iter().copied().map(i64::from).collect();
                let bytes = [body::as_bytes(&labels), numbers].concat();
                let labels = tensor("labels", Dtype::I64, &[rows]);
                prepared(bytes.into(), vec![labels, features])
            }
            Some(Answers::Targets(targets)) => {
                let bytes = [numbers, body::as_bytes(targets)].concat();
                let targets = tensor("targets", Dtype::F32, &[rows, 1]);
                prepared(bytes.into(), vec![features, targets])
            }
        }
    }
}

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> TensorMeta {
    TensorMeta {
        name: name.to_owned(),
        dtype: dtype.into(),
        shape: shape.iter().map(|&side| side as u64).collect(),
    }
}

fn prepared(bytes: Bytes, tensors: Vec<TensorMeta>) -> Prepared {
    let digest = Digest::of(&bytes).to_string();
    Prepared {
        body: Body {
            digest,
            length_bytes: bytes.len() as u64,
            tensors,
        },
        bytes,
    }
}

/// CSV: for each row the likeliest class, then the probability of each.
pub(super) fn answer(classes: &[String], probabilities: &[f32]) -> Vec<u8> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let columns = classes.iter().map(|class| format!("p_{class}"));
    let header = std::iter::once("prediction".to_owned()).chain(columns);
    // Writing to memory does not fail.
    drop(csv.write_record(header));
    for row in probabilities.chunks_exact(classes.len().max(1)) {
        let best = (0..row.len())
            .max_by(|&a, &b| row[a].total_cmp(&row[b]))
            .unwrap_or(0);
        let numbers = row.iter().map(|probability| format!("{probability:.6}"));
        drop(csv.write_record(std::iter::once(classes[best].clone()).chain(numbers)));
    }
    csv.into_inner().unwrap_or_default()
}

/// CSV: the value for each row.
pub(super) fn values(values: &[f32]) -> Vec<u8> {
    let lines = values.iter().map(|value| format!("{value}\n"));
    std::iter::once("prediction\n".to_owned())
        .chain(lines)
        .collect::<String>()
        .into_bytes()
}
