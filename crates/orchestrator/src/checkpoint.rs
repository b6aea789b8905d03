//! Checkpoints: a model file, then its manifest.
//!
//! The manifest is the commit point: a round whose manifest stands is committed, whatever else was
//! or was not written when the process died.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use artifacts::tensors::{self, Dtype, TensorMeta};
use artifacts::{ArtifactStore, BlobError, BlobRef, BlobStore, Expected, Key, Swapped};
use bytes::Bytes;
use federation::digest::Digester;
use federation::event::RoundOutcome;
use federation::model::Architecture;
use federation::{ClientId, Digest, KernelClass, RunId};
use proto::{body, v1};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::store::Receipt;
use crate::study::Study;
use crate::trace::block;

/// A model in the store: a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Of the whole file.
    pub digest: Digest,
    /// Size of the whole file.
    pub len: u64,
    /// The file's data: all parameters in layout order, as raw f32.
    pub parameters: BlobRef,
}

impl ModelFile {
    /// The parameters as compute-core takes them.
    #[must_use]
    pub fn body(&self, architecture: &Architecture) -> v1::Body {
        v1::Body {
            digest: self.parameters.digest.to_string(),
            length_bytes: self.parameters.len,
            tensors: body::parameter_tensors(architecture),
        }
    }

    /// The parameters where workers find them.
    #[must_use]
    pub fn located(&self, architecture: &Architecture) -> v1::BlobRef {
        v1::BlobRef {
            key: self.parameters.key.to_string(),
            offset_bytes: self.parameters.offset,
            body: Some(self.body(architecture)),
        }
    }
}

/// What a run can go on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The run.
    pub run: RunId,
    /// Rounds behind the model; 0 for the initial one.
    pub round: u32,
    /// Of the job.
    pub job_digest: Digest,
    /// Of the data set.
    pub dataset_digest: Digest,
    /// The model's shape.
    pub architecture: Architecture,
    /// The model.
    pub model: ModelFile,
    /// Of the model file before it.
    pub parent: Option<Digest>,
    /// The updates in the model.
    pub updates: Vec<UpdateEntry>,
    /// The classes of kernels that trained the updates, in order; empty where workers did not say.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kernel_classes: BTreeSet<KernelClass>,
    /// What the round achieved; none for the initial model.
    pub outcome: Option<RoundOutcome>,
}

/// An update in a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateEntry {
    /// Whose data.
    pub client: ClientId,
    /// Of the delta's bytes.
    pub digest: Digest,
    /// Loss terms behind it.
    pub num_examples: u64,
    /// How much it weighs.
    pub weight: f64,
}

impl UpdateEntry {
    /// That of an accepted update.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Self {
        Self {
            client: receipt.client,
            digest: receipt.digest,
            num_examples: receipt.num_examples,
            weight: receipt.weight,
        }
    }
}

/// Why a checkpoint cannot be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The store did not do its part, or the bytes are damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The model has no canonical file.
    #[error(transparent)]
    Tensors(#[from] tensors::TensorError),
    /// The manifest does not read.
    #[error("checkpoint manifest {key} cannot be read: {problem}")]
    Manifest {
        /// Which one.
        key: Key,
        /// Why not.
        problem: String,
    },
    /// Somebody else writes here, and is ahead.
    #[error("another orchestrator has written {key} in the meantime")]
    Overtaken {
        /// What.
        key: Key,
    },
}

/// The bytes in front of a model's parameters in its file.
///
/// # Errors
///
/// [`tensors::TensorError`] when the model is too large for a file.
pub fn header(architecture: &Architecture) -> Result<Bytes, tensors::TensorError> {
    let meta = |tensor: federation::model::Tensor| TensorMeta {
        name: tensor.name,
        dtype: Dtype::F32,
        shape: tensor.shape,
    };
    let tensors: Vec<_> = architecture.tensors().into_iter().map(meta).collect();
    Ok(tensors::header(&tensors, &BTreeMap::new())?.into())
}

/// Stores parameters as the initial model of a run. It stands for good when its checkpoint is
/// [committed](commit).
///
/// # Errors
///
/// [`CheckpointError`].
pub async fn store_initial(
    study: &Study,
    run: RunId,
    architecture: &Architecture,
    parameters: Bytes,
) -> Result<ModelFile, CheckpointError> {
    let header = header(architecture)?;
    let (offset, len) = (header.len() as u64, parameters.len() as u64);
    let path = study.spool.join(format!("{run}-0.safetensors"));
    let file = path.clone();
    let writing = block(move || {
        let mut whole = Digester::default();
        whole.update(&header);
        whole.update(&parameters);
        let written = write(&file, &[&header, &parameters]);
        (whole.finish(), Digest::of(&parameters), written)
    });
    let (digest, data, written) = writing.await.map_err(|panicked| BlobError::Unavailable {
        message: panicked.to_string(),
    })?;
    let key = Key::checkpoint_model(run, 0, &digest);
    written.map_err(|source| BlobError::Io {
        key: key.clone(),
        source,
    })?;
    study.blobs.adopt(&key, path, digest).await?;
    Ok(ModelFile {
        digest,
        len: offset + len,
        parameters: BlobRef {
            key,
            offset,
            len,
            digest: data,
        },
    })
}

/// Writes a file whole, or leaves none.
fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let written = File::create(path).and_then(|mut file| {
        let mut parts = parts.iter();
        parts.try_for_each(|part| file.write_all(part))
    });
    if written.is_err() {
        // The first failure is the one to tell; the next try overwrites what is left.
        drop(fs::remove_file(path));
    }
    written
}

/// Commits a checkpoint whose model is [settled](ArtifactStore::settle), and says what stands: the
/// manifest of an attempt before this one, if that came as far with the same model.
///
/// The manifest is written on conditions: an orchestrator that leads no longer, and whose writes come
/// late, replaces nothing.
///
/// # Errors
///
/// [`CheckpointError`].
pub async fn commit(
    blobs: &ArtifactStore,
    manifest: Manifest,
) -> Result<Manifest, CheckpointError> {
    let key = Key::checkpoint_manifest(manifest.run, manifest.round);
    let bytes = json(&key, &manifest)?;
    let mut expected = Expected::Absent;
    loop {
        if let Swapped::Written(_) = blobs.swap(&key, bytes.clone(), &expected).await? {
            return Ok(manifest);
        }
        let Some((there, version)) = blobs.read_version(&key).await? else {
            return Err(CheckpointError::Overtaken { key });
        };
        let there: Manifest = read(&key, &there)?;
        if (&there.model, &there.updates) == (&manifest.model, &manifest.updates) {
            return Ok(there);
        }
        let next = Key::checkpoint_manifest(manifest.run, manifest.round + 1);
        if matches!(expected, Expected::Version(_)) || blobs.head(&next).await?.is_some() {
            return Err(CheckpointError::Overtaken { key });
        }
        // Of an attempt whose round no row took.
        expected = Expected::Version(version);
    }
}

fn read<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, CheckpointError> {
    serde_json::from_slice(bytes).map_err(|error| CheckpointError::Manifest {
        key: key.clone(),
        problem: error.to_string(),
    })
}

/// The manifest of `round`, if the round is committed.
///
/// # Errors
///
/// [`CheckpointError`].
pub async fn manifest(
    blobs: &dyn BlobStore,
    run: RunId,
    round: u32,
) -> Result<Option<Manifest>, CheckpointError> {
    let key = Key::checkpoint_manifest(run, round);
    let Some(bytes) = small(blobs, &key).await? else {
        return Ok(None);
    };
    read(&key, &bytes).map(Some)
}

/// Verifies a whole model file: bytes that rotted must not become a base.
///
/// # Errors
///
/// [`CheckpointError::Blob`] names the file and both digests.
pub async fn verify(blobs: &ArtifactStore, model: &ModelFile) -> Result<(), CheckpointError> {
    let key = &model.parameters.key;
    Ok(blobs.verify(key, model.len, &model.digest).await?)
}

async fn small(blobs: &dyn BlobStore, key: &Key) -> Result<Option<Bytes>, BlobError> {
    use futures::TryStreamExt;
    let chunks = match blobs.get(key, None).await {
        Ok(chunks) => chunks,
        Err(BlobError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let chunks: Vec<Bytes> = chunks.try_collect().await?;
    Ok(Some(chunks.concat().into()))
}

fn json(key: &Key, value: &impl Serialize) -> Result<Bytes, CheckpointError> {
    let bytes = serde_json::to_vec_pretty(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| CheckpointError::Manifest {
            key: key.clone(),
            problem: error.to_string(),
        })
}
