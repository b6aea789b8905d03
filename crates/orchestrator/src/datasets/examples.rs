//! Rows with their classes, as a safetensors file.

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
    /// The file's data: labels `[rows]` as i64, then features `[rows, n]` as f32.
    pub blob: BlobRef,
}

/// Rows in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// `[rows, n]`.
    pub features: Vec<f32>,
    /// `[rows]`.
    pub labels: Vec<u32>,
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
    pub fn body(&self, features: usize) -> v1::Body {
        let tensor = |name: &str, dtype: v1::Dtype, shape| v1::TensorMeta {
            name: name.to_owned(),
            dtype: dtype.into(),
            shape,
        };
        v1::Body {
            digest: self.blob.digest.to_string(),
            length_bytes: self.blob.len,
            tensors: vec![
                tensor("labels", v1::Dtype::I64, vec![self.rows]),
                tensor("features", v1::Dtype::F32, vec![self.rows, features as u64]),
            ],
        }
    }
}

impl Examples {
    /// Stores the rows under the digest of their file.
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
        let rows = self.labels.len() as u64;
        let header = tensors::header(&layout(rows, features), &BTreeMap::new())?;
        let labels: Vec<i64> = self.labels.iter().map(|&label| i64::from(label)).collect();
        let parts = [
            Bytes::from(header),
            body::into_bytes(labels),
            body::into_bytes(self.features),
        ];
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
        features: usize,
    ) -> Result<Self, ExamplesError> {
        let wrong_shape = || ExamplesError::Shape {
            key: reference.blob.key.clone(),
            rows: reference.rows,
            features,
        };
        let bytes = fetch(store, &reference.blob).await?;
        let rows = usize::try_from(reference.rows).unwrap_or(usize::MAX);
        if tensors::data_len(&layout(reference.rows, features))? != bytes.len() as u64 {
            return Err(wrong_shape());
        }
        let (labels, numbers) = bytes.split_at(rows * size_of::<i64>());
        let labels: Option<Vec<u32>> = body::as_numbers::<i64>(labels)
            .iter()
            .map(|&label| label.try_into().ok())
            .collect();
        Ok(Self {
            features: body::as_numbers(numbers).into_owned(),
            labels: labels.ok_or_else(wrong_shape)?,
        })
    }

    /// The rows with these indices, in this order.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let width = self.features.len() / self.labels.len().max(1);
        let mut features = Vec::with_capacity(indices.len() * width);
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let row = index as usize;
            features.extend_from_slice(&self.features[row * width..(row + 1) * width]);
            labels.push(self.labels[row]);
        }
        Self { features, labels }
    }
}

fn layout(rows: u64, features: usize) -> [TensorMeta; 2] {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    [
        TensorMeta {
            name: "labels".to_owned(),
            dtype: Dtype::I64,
            shape: vec![rows],
        },
        TensorMeta {
            name: "features".to_owned(),
            dtype: Dtype::F32,
            shape: vec![rows, features],
        },
    ]
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
        let examples = Examples {
            features: vec![1.0, 2.0, 3.0, 4.0],
            labels: vec![1, 0],
        };
        let reference = examples
            .clone()
            .store(&store, Kind::Shard, 2)
            .await
            .unwrap();
        assert_eq!(
            Examples::load(&store, &reference, 2).await.unwrap(),
            examples
        );

        let path = store.path_of(&reference.blob.key);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = Examples::load(&store, &reference, 2).await.unwrap_err();
        assert!(
            error.to_string().contains(reference.blob.key.as_str()),
            "{error}"
        );
    }
}
