//! Shards, updates, checkpoints and models, as verified bytes.
//!
//! A [`Key`] names an object, a [`BlobRef`] some bytes of one with their digest. A [`BlobStore`]
//! keeps objects; what their tensors mean is for others to know. An [`ArtifactStore`] keeps them in a
//! local directory, or on S3 behind one.

mod artifact_store;
mod blob;
mod key;
mod local;
mod metrics;
mod s3;
mod store;
pub mod tensors;

#[cfg(any(test, feature = "contract"))]
pub mod contract;
#[cfg(test)]
mod localstack;

pub use artifact_store::{ArtifactStore, ProbeError};
pub use blob::{BlobRef, fetch, verified};
pub use key::{InvalidKey, Key, Kind};
pub use local::{LocalStore, OpenError, make_dir};
pub use metrics::Metrics;
pub use s3::{Expected, Head, S3OpenError, S3Place, S3Store, Swapped, Version};
pub use store::{BlobError, BlobStore, CHUNK_MAX, Upload};
