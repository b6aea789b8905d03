//! Rows with their classes, or with their targets, as a safetensors file.

use std::collections::BTreeMap;

use crate::trace::block;
use artifacts::tensors::{self, Dtype, TensorError, TensorMeta};
use artifacts::{BlobError, BlobRef, BlobStore, Key, Kind, fetch};
use bytes::Bytes;
use federation::Digest;
use proto::{body, v1};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Rows in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplesRef {
    /// How many.
    pub rows: u64,
    /// The file's data, as its [`Layout`] says.
    pub blob: BlobRef,
}

/// What each row of a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Numbers of a row.
    pub features: usize,
    /// Whether they are followed by a target: else a label stands before them.
    pub has_targets: bool,
}

/// Rows in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// `[rows, n]`.
    pub features: Vec<f32>,
    /// What a model is held against.
    pub answers: Answers,
}

/// What a model is held against: `[rows]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// Classes, by their numbers.
    Labels(Vec<u32>),
    /// Numbers.
    Targets(Vec<f32>),
}

/// Why rows could not be stored or read.
#[derive(Debug, Error)]
pub enum ExamplesError {
    /// The store did not do its part.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// They are too many for a file.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// The file holds other rows than its reference says.
    #[error("object {key} does not hold {rows} rows of {features} features")]
    Shape {
        /// Which object.
        key: Key,
        /// As referred to.
        rows: u64,
        /// As referred to.
        features: usize,
    },
}

impl ExamplesRef {
    /// The file's data as compute-core takes it.
    #[must_use]
    pub fn body(&self, layout: Layout) -> v1::Body {
        let rows = usize::try_from(self.rows).unwrap_or(usize::MAX);
        let tensor = |meta: TensorMeta| v1::TensorMeta {
            name: meta.name,
            dtype: match meta.dtype {
                Dtype::I64 => v1::Dtype::I64.into(),
                _ => v1::Dtype::F32.into(),
            },
            shape: meta.shape.iter().map(|&side| side as u64).collect(),
        };
        v1::Body {
            digest: self.blob.digest.to_string(),
            length_bytes: self.blob.len,
            tensors: layout.tensors(rows).map(tensor).into(),
        }
    }
}

impl Layout {
    /// The tensors of a file, in its order.
    fn tensors(self, rows: usize) -> [TensorMeta; 2] {
        let tensor = |name: &str, dtype, shape| TensorMeta {
            name: name.to_owned(),
            dtype,
            shape,
        };
        let features = tensor("features", Dtype::F32, vec![rows, self.features]);
        match self.has_targets {
            true => [features, tensor("targets", Dtype::F32, vec![rows, 1])],
            false => [tensor("labels", Dtype::I64, vec![rows]), features],
        }
    }
}

impl Answers {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Targets(targets) => targets.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn select(&self, rows: &[u32]) -> Self {
        let rows = rows.iter().map(|&row| row as usize);
        match self {
            Self::Labels(labels) => Self::Labels(rows.map(|row| labels[row]).collect()),
            Self::Targets(targets) => Self::Targets(rows.map(|row| targets[row]).collect()),
        }
    }
}

impl Examples {
    /// Stores rows of `features` numbers under the digest of their file.
    ///
    /// # Errors
    ///
    /// [`ExamplesError`].
    pub async fn store(
        self,
        store: &dyn BlobStore,
        kind: Kind,
        features: usize,
    ) -> Result<ExamplesRef, ExamplesError> {
        let layout = Layout {
            features,
            has_targets: matches!(self.answers, Answers::Targets(_)),
        };
        let count = self.answers.len();
        let rows = count as u64;
        let header = Bytes::from(tensors::header(&layout.tensors(count), &BTreeMap::new())?);
        let features = body::into_bytes(self.features);
        let parts = match self.answers {
            Answers::Labels(labels) => {
                let labels: Vec<i64> = labels.into_iter().map(i64::from).collect();
                [header, body::into_bytes(labels), features]
            }
            Answers::Targets(targets) => [header, features, body::into_bytes(targets)],
        };
        let (file, data) = {
            let parts = parts.clone();
            let digested = block(move || digests(&parts)).await;
            digested.map_err(|panicked| BlobError::Unavailable {
                message: panicked.to_string(),
            })?
        };
        let key = Key::content(kind, &file);
        let len: usize = parts.iter().map(Bytes::len).sum();
        let mut upload = store.upload(&key, len as u64, &file).await?;
        if upload.offset() == 0 {
            for part in &parts {
                upload.write(part.clone()).await?;
            }
        } else {
            let whole = parts.concat();
            let start = usize::try_from(upload.offset())
                .unwrap_or(usize::MAX)
                .min(whole.len());
            upload.write(Bytes::from(whole).slice(start..)).await?;
        }
        upload.finish().await?;
        let offset = parts[0].len() as u64;
        let blob = BlobRef {
            key,
            offset,
            len: len as u64 - offset,
            digest: data,
        };
        Ok(ExamplesRef { rows, blob })
    }

    /// Reads the rows that `reference` names, and verifies them.
    ///
    /// # Errors
    ///
    /// [`ExamplesError`].
    pub async fn load(
        store: &dyn BlobStore,
        reference: &ExamplesRef,
        layout: Layout,
    ) -> Result<Self, ExamplesError> {
        let wrong_shape = || ExamplesError::Shape {
            key: reference.blob.key.clone(),
            rows: reference.rows,
            features: layout.features,
        };
        let bytes = fetch(store, &reference.blob).await?;
        let rows = usize::try_from(reference.rows).unwrap_or(usize::MAX);
        if tensors::data_len(&layout.tensors(rows))? != bytes.len() as u64 {
            return Err(wrong_shape());
        }
        if layout.has_targets {
            let (numbers, targets) = bytes.split_at(rows * layout.features * size_of::<f32>());
            return Ok(Self {
                features: body::as_numbers(numbers).into_owned(),
                answers: Answers::Targets(body::as_numbers(targets).into_owned()),
            });
        }
        let (labels, numbers) = bytes.split_at(rows * size_of::<i64>());
        let labels: Option<Vec<u32>> = body::as_numbers::<i64>(labels)
            .iter()
            .map(|&label| label.try_into().ok())
            .collect();
        Ok(Self {
            features: body::as_numbers(numbers).into_owned(),
            answers: Answers::Labels(labels.ok_or_else(wrong_shape)?),
        })
    }

    /// The rows with these indices, in this order.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let width = self.features.len() / self.answers.len().max(1);
        let mut features = Vec::with_capacity(indices.len() * width);
        for &index in indices {
            let row = index as usize;
            features.extend_from_slice(&self.features[row * width..(row + 1) * width]);
        }
        Self {
            features,
            answers: self.answers.select(indices),
        }
    }
}

/// The digests of the whole file and of its data.
fn digests(parts: &[Bytes; 3]) -> (Digest, Digest) {
    let mut file = federation::digest::Digester::default();
    let mut data = federation::digest::Digester::default();
    for (index, part) in parts.iter().enumerate() {
        file.update(part);
        if index > 0 {
            data.update(part);
        }
    }
    (file.finish(), data.finish())
}

#[cfg(test)]
mod tests {
    use artifacts::LocalStore;

    use super::*;

    #[tokio::test]
    async fn rows_come_back_as_they_went_and_a_changed_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().to_owned()).unwrap();
        let labels = Answers::Labels(vec![1, 0]);
        let targets = Answers::Targets(vec![0.5, -2.0]);
        for (answers, has_targets) in [(labels, false), (targets, true)] {
            let examples = Examples {
                features: vec![1.0, 2.0, 3.0, 4.0],
                answers,
            };
            let layout = Layout {
                features: 2,
                has_targets,
            };
            let reference = examples
                .clone()
                .store(&store, Kind::Shard, 2)
                .await
                .unwrap();
            let loaded = Examples::load(&store, &reference, layout).await.unwrap();
            assert_eq!(loaded, examples);
            check_damage(&store, &reference, layout).await;
        }
    }

    async fn check_damage(store: &LocalStore, reference: &ExamplesRef, layout: Layout) {
        let path = store.path_of(&reference.blob.key);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = Examples::load(store, reference, layout).await.unwrap_err();
        assert!(
            error.to_string().contains(reference.blob.key.as_str()),
            "{error}"
        );
    }
}
