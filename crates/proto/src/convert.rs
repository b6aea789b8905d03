//! Between messages and the rules' own types.

mod event;
mod job;
mod partition;
mod run;
mod training;

use thiserror::Error;

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
