//! One task: fetch what it needs, have it trained, hold the delta.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use artifacts::{BlobError, BlobRef, BlobStore, verified};
use clock::Clock;
use federation::local::LocalTraining;
use federation::model::Architecture;
use federation::{KernelClass, TaskId};
use futures::StreamExt;
use proto::body::Passing;
use proto::convert::{InvalidMessage, maybe_kernel_class};
use proto::engine::{Engine, EngineError, Input, Inputs, Pieces, TrainWord};
use proto::fault;
use proto::v1;
use proto::v1::{TrainProgress, TrainResult, TrainTask};
use telemetry::metrics::IntCounter;
use thiserror::Error;
use tonic::Code;

use crate::silence::LastWord;

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
    /// With the kernels of which class, if not with those in use.
    pub kernel_class: Option<KernelClass>,
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
    /// compute-core answers, and its training stands still.
    #[error("the training stands still: compute-core said nothing of it for {silence:?}")]
    Silent {
        /// For how long.
        silence: Duration,
    },
}

impl TrainError {
    /// Whether the cause is that somebody was not there; then the task is as good as new.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Input { source, .. } => matches!(source, BlobError::Unavailable { .. }),
            Self::Engine(error) => error.is_transient(),
            Self::Silent { .. } => true,
        }
    }

    /// Whether another attempt could succeed all the same. Damaged bytes stay damaged, and a
    /// training that diverged diverges again; a computation that broke may not, and kernels that this
    /// processor has not another one has.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let Self::Engine(EngineError::Call(status)) = self else {
            return false;
        };
        status.code() == Code::Internal
            || fault::reason(status).as_deref() == Some(fault::KERNELS_UNAVAILABLE)
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
            kernel_class: maybe_kernel_class(&message.kernel_class)?,
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

    fn input<'a>(&'a self, what: &'static str, with: Means<'a>) -> Input<'a> {
        let load = move || -> proto::engine::Loading<'a> {
            with.lacked.store(true, Ordering::Relaxed);
            Box::pin(async move {
                let failed = move |source| TrainError::Input { what, source };
                let pieces = verified(with.store.as_ref(), &self.blob).await;
                let fetched = with.fetched_bytes.clone();
                Ok(Pieces::of(pieces.map_err(failed)?.map(move |piece| {
                    let piece = piece.map_err(failed)?;
                    fetched.inc_by(piece.len() as u64);
                    Ok::<_, TrainError>(piece)
                })))
            })
        };
        Input {
            body: &self.body,
            load: Box::new(load),
        }
    }
}

/// What a task is done with.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// Where bytes come from.
    pub store: &'a Arc<dyn BlobStore>,
    /// Where training happens.
    pub engine: &'a Engine,
    /// Counts bytes that came.
    pub fetched_bytes: &'a IntCounter,
    /// Becomes true when compute-core does not hold an input.
    pub lacked: &'a AtomicBool,
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// How long a training may say nothing.
    pub idle_timeout: Duration,
}

/// Has compute-core hold what the task needs. Bytes that it holds already do not travel.
///
/// # Errors
///
/// [`TrainError`].
pub async fn hold(task: &Task, with: Means<'_>) -> Result<(), TrainError> {
    let held = with.engine.hold(&inputs(task, with)).await;
    held.map_err(TrainError::from)
}

/// Has compute-core train the task on what it [holds](hold), which is fetched where it does not, and
/// yields the delta as it came.
///
/// # Errors
///
/// [`TrainError`].
pub async fn train(
    task: &Task,
    with: Means<'_>,
    on_progress: &mut (dyn FnMut(TrainProgress) + Send),
) -> Result<(TrainResult, Passing), TrainError> {
    let inputs = inputs(task, with);
    let engine = with.engine.with_kernels(task.kernel_class);
    let engine = engine.on_behalf_of(&task.id.client.to_string());
    let last_word = LastWord::new(with.clock);
    let mut on_word = |word| {
        match word {
            // A transfer that advances is not failed by a clock, and one that does not is by the
            // connection.
            TrainWord::Lacking => last_word.expect_none(),
            _ => last_word.hear(),
        }
        if let TrainWord::Progress(progress) = word {
            on_progress(progress);
        }
    };
    let training = engine.train(&task.model, inputs, &task.local, task.seed, &mut on_word);
    let silence = with.idle_timeout;
    tokio::select! {
        biased;
        trained = training => trained.map_err(TrainError::from),
        () = last_word.until_silent_for(silence) => Err(TrainError::Silent { silence }),
    }
}

fn inputs<'a>(task: &'a Task, with: Means<'a>) -> Inputs<'a> {
    Inputs {
        parameters: task.parameters.input("parameters", with),
        examples: task.shard.input("shard", with),
    }
}

impl From<EngineError> for TrainError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Load(source) => match source.downcast::<Self>() {
                Ok(error) => *error,
                Err(source) => Self::Engine(EngineError::Load(source)),
            },
            error => Self::Engine(error),
        }
    }
}
