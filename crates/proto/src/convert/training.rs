//! Architectures and local training.

use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::Architecture;

use super::InvalidMessage;
use super::layers::layers;
use crate::v1;
use crate::v1::{local_training, optimizer, schedule};

impl From<&Architecture> for v1::Architecture {
    fn from(architecture: &Architecture) -> Self {
        Self {
            layers: architecture
                .layers()
                .iter()
                .copied()
                .map(Into::into)
                .collect(),
        }
    }
}

impl TryFrom<&v1::Architecture> for Architecture {
    type Error = InvalidMessage;

    fn try_from(message: &v1::Architecture) -> Result<Self, InvalidMessage> {
        let layers = layers("model.layers", &message.layers)?;
        Self::new(layers).map_err(|error| InvalidMessage::new("model", error))
    }
}

impl From<&LocalTraining> for v1::LocalTraining {
    fn from(local: &LocalTraining) -> Self {
        let duration = match local.duration {
            LocalDuration::Epochs(epochs) => local_training::Duration::Epochs(epochs),
            LocalDuration::Steps(steps) => local_training::Duration::Steps(steps),
        };
        Self {
            duration: Some(duration),
            batch_size: Some(local.batch_size),
            optimizer: Some(local.optimizer.into()),
            schedule: schedule(local.schedule),
            clip_norm: local.clip_norm,
        }
    }
}

impl TryFrom<&v1::LocalTraining> for LocalTraining {
    type Error = InvalidMessage;

    fn try_from(message: &v1::LocalTraining) -> Result<Self, InvalidMessage> {
        let duration = match message.duration {
            Some(local_training::Duration::Epochs(epochs)) => LocalDuration::Epochs(epochs),
            Some(local_training::Duration::Steps(steps)) => LocalDuration::Steps(steps),
            None => return Err(InvalidMessage::new("local", "needs epochs or steps")),
        };
        let optimizer = message
            .optimizer
            .as_ref()
            .ok_or_else(|| InvalidMessage::missing("local.optimizer"))?;
        let batch_size = message.batch_size.unwrap_or(Self::BATCH_SIZE);
        Ok(Self {
            duration,
            batch_size,
            optimizer: optimizer.try_into()?,
            schedule: unscheduled(message.schedule.as_ref())?,
            clip_norm: message.clip_norm,
        })
    }
}

/// A constant rate is what an absent schedule says.
pub(super) fn schedule(schedule: Schedule) -> Option<v1::Schedule> {
    let kind = match schedule {
        Schedule::Constant => return None,
        Schedule::Warmup { steps } => schedule::Kind::Warmup(schedule::Warmup { steps }),
        Schedule::Cosine {
            warmup_steps,
            floor,
        } => schedule::Kind::Cosine(schedule::Cosine {
            warmup_steps,
            floor,
        }),
        Schedule::Staircase { every, factor } => {
            schedule::Kind::Staircase(schedule::Staircase { every, factor })
        }
    };
    Some(v1::Schedule { kind: Some(kind) })
}

pub(super) fn unscheduled(message: Option<&v1::Schedule>) -> Result<Schedule, InvalidMessage> {
    let Some(message) = message else {
        return Ok(Schedule::Constant);
    };
    match message.kind {
        Some(schedule::Kind::Constant(_)) => Ok(Schedule::Constant),
        Some(schedule::Kind::Warmup(warmup)) => Ok(Schedule::Warmup {
            steps: warmup.steps,
        }),
        Some(schedule::Kind::Cosine(cosine)) => Ok(Schedule::Cosine {
            warmup_steps: cosine.warmup_steps,
            floor: cosine.floor,
        }),
        Some(schedule::Kind::Staircase(staircase)) => Ok(Schedule::Staircase {
            every: staircase.every,
            factor: staircase.factor,
        }),
        None => Err(InvalidMessage::new(
            "local.schedule",
            "must be one of constant, warmup, cosine, staircase",
        )),
    }
}

impl From<Optimizer> for v1::Optimizer {
    fn from(optimizer: Optimizer) -> Self {
        let kind = match optimizer {
            Optimizer::Sgd {
                learning_rate,
                momentum,
                weight_decay,
            } => optimizer::Kind::Sgd(optimizer::Sgd {
                learning_rate,
                momentum,
                weight_decay,
            }),
            Optimizer::AdamW {
                learning_rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => optimizer::Kind::AdamW(optimizer::AdamW {
                learning_rate,
                beta1: Some(beta1),
                beta2: Some(beta2),
                epsilon: Some(epsilon),
                weight_decay: Some(weight_decay),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<&v1::Optimizer> for Optimizer {
    type Error = InvalidMessage;

    fn try_from(message: &v1::Optimizer) -> Result<Self, InvalidMessage> {
        match &message.kind {
            Some(optimizer::Kind::Sgd(sgd)) => Ok(Self::Sgd {
                learning_rate: sgd.learning_rate,
                momentum: sgd.momentum,
                weight_decay: sgd.weight_decay,
            }),
            Some(optimizer::Kind::AdamW(adam_w)) => Ok(Self::AdamW {
                learning_rate: adam_w.learning_rate,
                beta1: adam_w.beta1.unwrap_or(Self::BETA1),
                beta2: adam_w.beta2.unwrap_or(Self::BETA2),
                epsilon: adam_w.epsilon.unwrap_or(Self::EPSILON),
                weight_decay: adam_w.weight_decay.unwrap_or(Self::WEIGHT_DECAY),
            }),
            None => Err(InvalidMessage::new(
                "local.optimizer",
                "must be one of sgd, adam_w",
            )),
        }
    }
}
