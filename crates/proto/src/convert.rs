//! Between messages and the rules' own types.

mod event;
mod job;
mod layers;
mod partition;
mod run;
mod training;

use bytes::Bytes;
use federation::KernelClass;
use prost::Message;
use thiserror::Error;

use crate::v1;

/// A message that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct InvalidMessage {
    /// Which field, by its path.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl InvalidMessage {
    /// The field at `field` has the problem `problem`.
    pub fn new(field: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self {
            field: field.into(),
            problem: problem.to_string(),
        }
    }

    /// A field that must be there is not.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::new(field, "is missing")
    }
}

/// The class of kernels that a field names.
///
/// # Errors
///
/// [`InvalidMessage`] with the names that there are.
pub fn kernel_class(name: &str) -> Result<KernelClass, InvalidMessage> {
    name.parse()
        .map_err(|error| InvalidMessage::new("kernel_class", error))
}

/// The class that a field names, if it names one: an empty text is none.
///
/// # Errors
///
/// As [`kernel_class`].
pub fn maybe_kernel_class(name: &str) -> Result<Option<KernelClass>, InvalidMessage> {
    (!name.is_empty()).then(|| kernel_class(name)).transpose()
}

impl v1::TrainTask {
    /// The task as a message's body.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Reads a message's body.
    ///
    /// # Errors
    ///
    /// [`InvalidMessage`] when the bytes are no task.
    pub fn from_bytes(body: Bytes) -> Result<Self, InvalidMessage> {
        Self::decode(body).map_err(|error| InvalidMessage::new("body", error))
    }
}
