//! Shards, updates, checkpoints and models, as verified bytes.
//!
//! A [`Key`] names an object, a [`BlobRef`] some bytes of one with their digest. A [`BlobStore`]
//! keeps objects; what their tensors mean is for others to know.

mod blob;
mod key;
mod local;
mod metrics;
mod store;
pub mod tensors;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

pub use blob::{BlobRef, fetch};
pub use key::{InvalidKey, Key, Kind};
pub use local::{LocalStore, OpenError, make_dir};
pub use metrics::Metrics;
pub use store::{BlobError, BlobStore, CHUNK_MAX, Upload};
