//! What can stand in the way of a run, told apart by what to do about it.

use std::fmt::Display;
use std::time::Duration;

use artifacts::{BlobError, OpenError};
use proto::engine::EngineError;
use task_queue::QueueError;
use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::datasets::examples::ExamplesError;
use crate::datasets::shards::ShardsError;
use crate::publish::PublishError;
use crate::store::StoreError;

/// Waits after a stalled step, doubling from the first to the longest.
pub(crate) const STALL_FIRST: Duration = Duration::from_millis(50);
pub(crate) const STALL_LONGEST: Duration = Duration::from_secs(2);

/// Why a step of a run was not taken.
#[derive(Debug, Error)]
pub enum Problem {
    /// Somebody who is needed is not there; it is tried again.
    #[error("{waiting_for}: {message}")]
    Stalled {
        /// Who or what must be there first.
        waiting_for: &'static str,
        /// What it says.
        message: String,
    },
    /// No further try would succeed; the run fails.
    #[error("{message}")]
    Fatal {
        /// Why.
        message: String,
    },
}

impl Problem {
    /// An error about `what` that no further try will mend.
    pub fn fatal<E: Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Fatal {
            message: format!("{what}: {error}"),
        }
    }

    fn stalled(waiting_for: &'static str, error: &impl Display) -> Self {
        Self::Stalled {
            waiting_for,
            message: error.to_string(),
        }
    }

    fn last(error: &impl Display) -> Self {
        Self::Fatal {
            message: error.to_string(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => Self::last(&error),
            _ => Self::stalled("run store", &error),
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            // A full disk may have room again; what is missing or damaged stays so.
            BlobError::Io { .. } | BlobError::Unavailable { .. } | BlobError::List { .. } => {
                Self::stalled("artifacts", &error)
            }
            _ => Self::last(&error),
        }
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        Self::stalled("artifacts", &error)
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Load(source) => match source.downcast::<BlobError>() {
                Ok(error) => (*error).into(),
                Err(source) => Self::last(&source),
            },
            error if error.is_transient() => Self::stalled("compute-core", &error),
            error => Self::last(&error),
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::BodyTooLarge { .. } => Self::last(&error),
            _ => Self::stalled("task queue", &error),
        }
    }
}

impl From<CheckpointError> for Problem {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Blob(error) => error.into(),
            // This one ends when it finds that it leads no longer.
            CheckpointError::Overtaken { .. } => Self::stalled("artifacts", &error),
            error => Self::last(&error),
        }
    }
}

impl From<ExamplesError> for Problem {
    fn from(error: ExamplesError) -> Self {
        match error {
            ExamplesError::Blob(error) => error.into(),
            error => Self::last(&error),
        }
    }
}

impl From<ShardsError> for Problem {
    fn from(error: ShardsError) -> Self {
        match error {
            ShardsError::Examples(error) => error.into(),
            ShardsError::Store(error) => error.into(),
            error @ ShardsError::Partition(_) => Self::last(&error),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Blob(error) => error.into(),
            PublishError::Store(error) => error.into(),
        }
    }
}
