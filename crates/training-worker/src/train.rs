//! One task: fetch what it needs, have it trained, hold the delta.

use std::sync::Arc;

use artifacts::{BlobError, BlobRef, BlobStore, fetch};
use bytes::Bytes;
use federation::TaskId;
use federation::local::LocalTraining;
use federation::model::Architecture;
use proto::convert::InvalidMessage;
use proto::engine::{Engine, EngineError, Input, Inputs};
use proto::v1;
use proto::v1::{TrainProgress, TrainResult, TrainTask};
use thiserror::Error;
use tonic::Code;

/// A task whose message was understood.
#[derive(Debug, Clone)]
pub struct Task {
    /// Which work it is.
    pub id: TaskId,
    /// What is trained.
    pub model: Architecture,
    /// From where.
    pub parameters: Located,
    /// On what.
    pub shard: Located,
    /// How.
    pub local: LocalTraining,
    /// Of the shuffling.
    pub seed: u64,
}

/// A body and where its bytes are.
#[derive(Debug, Clone)]
pub struct Located {
    /// What the bytes are.
    pub body: v1::Body,
    /// Where they are.
    pub blob: BlobRef,
}

/// Why a task came to nothing.
#[derive(Debug, Error)]
pub enum TrainError {
    /// An input is missing or damaged.
    #[error("{what}: {source}")]
    Input {
        /// Which one.
        what: &'static str,
        /// Why.
        source: BlobError,
    },
    /// compute-core did not do it.
    #[error(transparent)]
    Engine(EngineError),
}

impl TrainError {
    /// Whether the cause is that somebody was not there; then the task is as good as new.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Input { source, .. } => matches!(source, BlobError::Unavailable { .. }),
            Self::Engine(error) => error.is_transient(),
        }
    }

    /// Whether another attempt could succeed all the same. Damaged bytes stay damaged, and a
    /// training that diverged diverges again; a computation that broke may not.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Engine(EngineError::Call(status)) if status.code() == Code::Internal)
    }
}

impl TryFrom<TrainTask> for Task {
    type Error = InvalidMessage;

    fn try_from(message: TrainTask) -> Result<Self, InvalidMessage> {
        let missing = InvalidMessage::missing;
        Ok(Self {
            id: message
                .task
                .parse()
                .map_err(|error| InvalidMessage::new("task", error))?,
            model: message
                .model
                .as_ref()
                .ok_or_else(|| missing("model"))?
                .try_into()?,
            parameters: Located::read("parameters", message.parameters)?,
            shard: Located::read("shard", message.shard)?,
            local: message
                .local
                .as_ref()
                .ok_or_else(|| missing("local"))?
                .try_into()?,
            seed: message.seed,
        })
    }
}

impl Located {
    fn read(field: &'static str, message: Option<v1::BlobRef>) -> Result<Self, InvalidMessage> {
        let message = message.ok_or_else(|| InvalidMessage::missing(field))?;
        let body = message.body.ok_or_else(|| InvalidMessage::missing(field))?;
        let blob = BlobRef {
            key: message
                .key
                .parse()
                .map_err(|error| InvalidMessage::new(field, error))?,
            offset: message.offset_bytes,
            len: body.length_bytes,
            digest: body
                .digest
                .parse()
                .map_err(|error| InvalidMessage::new(field, error))?,
        };
        Ok(Self { body, blob })
    }

    fn input<'a>(&'a self, what: &'static str, store: &'a Arc<dyn BlobStore>) -> Input<'a> {
        let load = move || -> proto::engine::Loading<'a> {
            Box::pin(async move {
                let fetched = fetch(store.as_ref(), &self.blob).await;
                fetched.map_err(|source| Box::new(TrainError::Input { what, source }).into())
            })
        };
        Input {
            body: &self.body,
            load: Box::new(load),
        }
    }
}

/// Has compute-core train the task. Bytes that it holds already do not travel.
///
/// # Errors
///
/// [`TrainError`].
pub async fn train(
    task: &Task,
    store: &Arc<dyn BlobStore>,
    engine: &Engine,
    on_progress: &mut (dyn FnMut(TrainProgress) + Send),
) -> Result<(TrainResult, Bytes), TrainError> {
    let inputs = Inputs {
        parameters: task.parameters.input("parameters", store),
        examples: task.shard.input("shard", store),
    };
    let trained = engine
        .train(&task.model, inputs, &task.local, task.seed, on_progress)
        .await;
    trained.map_err(|error| match error {
        EngineError::Load(source) => match source.downcast::<TrainError>() {
            Ok(error) => *error,
            Err(source) => TrainError::Engine(EngineError::Load(source)),
        },
        error => TrainError::Engine(error),
    })
}
