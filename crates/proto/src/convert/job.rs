//! Jobs as they are written, before they are checked.

use std::time::Duration;

use federation::job::{
    CohortDraft, DatasetDraft, JobDraft, LocalDraft, ModelSource, StopDraft, Strategy, Weighting,
};
use federation::local::LocalTraining;
use federation::model::{Activation, ModelSpec};
use federation::stop::{Metric, Target};

use super::layers::width;
use super::{InvalidMessage, kernel_class, layers, training};
use crate::v1;
use crate::v1::{local_training, model, stop_rule, strategy};

impl From<&JobDraft> for v1::Job {
    fn from(draft: &JobDraft) -> Self {
        Self {
            name: draft.name.clone(),
            model: Some((&draft.model).into()),
            dataset: Some(v1::JobDataset {
                name: draft.dataset.name.clone(),
                partition: Some(draft.dataset.partition.into()),
            }),
            local: Some(draft.local.into()),
            strategy: Some(draft.strategy.into()),
            rounds: draft.rounds,
            cohort: Some(draft.cohort.into()),
            stop: Some(draft.stop.into()),
            seed: draft.seed,
            publish_as: draft.publish_as.clone(),
            kernel_class: draft.kernel_class.map(|class| class.to_string()),
        }
    }
}

impl TryFrom<&v1::Job> for JobDraft {
    type Error = InvalidMessage;

    fn try_from(job: &v1::Job) -> Result<Self, InvalidMessage> {
        let missing = InvalidMessage::missing;
        let model = job.model.as_ref().ok_or_else(|| missing("model"))?;
        let dataset = job.dataset.as_ref().ok_or_else(|| missing("dataset"))?;
        let partition = dataset.partition.as_ref();
        let partition = partition.ok_or_else(|| missing("dataset.partition"))?;
        let local = job.local.as_ref().ok_or_else(|| missing("local"))?;
        let cohort = job.cohort.as_ref();
        Ok(Self {
            name: job.name.clone(),
            model: model.try_into()?,
            dataset: DatasetDraft {
                name: dataset.name.clone(),
                partition: partition.try_into()?,
            },
            local: local.try_into()?,
            strategy: job
                .strategy
                .map(Strategy::try_from)
                .transpose()?
                .unwrap_or_default(),
            rounds: job.rounds,
            cohort: cohort.map(CohortDraft::from).unwrap_or_default(),
            stop: job
                .stop
                .map(StopDraft::try_from)
                .transpose()?
                .unwrap_or_default(),
            seed: job.seed,
            kernel_class: job.kernel_class.as_deref().map(kernel_class).transpose()?,
            publish_as: job.publish_as.clone(),
        })
    }
}

impl From<&ModelSource> for v1::Model {
    fn from(source: &ModelSource) -> Self {
        let kind = match source {
            ModelSource::Spec(ModelSpec::SoftmaxRegression) => {
                model::Kind::SoftmaxRegression(model::SoftmaxRegression {})
            }
            ModelSource::Spec(ModelSpec::Mlp { hidden, activation }) => {
                model::Kind::Mlp(model::Mlp {
                    hidden: hidden.iter().map(|&width| width as u64).collect(),
                    activation: v1::Activation::from(*activation).into(),
                })
            }
            ModelSource::Spec(ModelSpec::Cnn {
                channels,
                kernel,
                hidden,
                image,
            }) => model::Kind::Cnn(model::Cnn {
                channels: channels.iter().map(|&count| count as u64).collect(),
                kernel: *kernel as u64,
                hidden: hidden.iter().map(|&width| width as u64).collect(),
                image: image.map(layers::image),
            }),
            ModelSource::Spec(ModelSpec::Gpt {
                blocks,
                width,
                heads,
            }) => model::Kind::Gpt(model::Gpt {
                layers: *blocks as u64,
                width: *width as u64,
                heads: *heads as u64,
            }),
            ModelSource::Spec(ModelSpec::Layers { layers }) => {
                let layers = layers.iter().copied().map(Into::into).collect();
                model::Kind::Layers(model::Layers { layers })
            }
            ModelSource::Published { name, version } => model::Kind::Published(model::Published {
                name: name.clone(),
                version: *version,
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<&v1::Model> for ModelSource {
    type Error = InvalidMessage;

    fn try_from(message: &v1::Model) -> Result<Self, InvalidMessage> {
        match &message.kind {
            Some(model::Kind::SoftmaxRegression(_)) => Ok(Self::Spec(ModelSpec::SoftmaxRegression)),
            Some(model::Kind::Mlp(mlp)) => Ok(Self::Spec(ModelSpec::Mlp {
                hidden: mlp.hidden.iter().copied().map(width).collect(),
                activation: mlp.activation().try_into()?,
            })),
            Some(model::Kind::Cnn(cnn)) => Ok(Self::Spec(ModelSpec::Cnn {
                channels: cnn.channels.iter().copied().map(width).collect(),
                kernel: width(cnn.kernel),
                hidden: cnn.hidden.iter().copied().map(width).collect(),
                image: cnn
                    .image
                    .map(|image| [image.channels, image.height, image.width].map(width)),
            })),
            Some(model::Kind::Gpt(gpt)) => Ok(Self::Spec(ModelSpec::Gpt {
                blocks: width(gpt.layers),
                width: width(gpt.width),
                heads: width(gpt.heads),
            })),
            Some(model::Kind::Layers(own)) => Ok(Self::Spec(ModelSpec::Layers {
                layers: layers::layers("model.layers", &own.layers)?,
            })),
            Some(model::Kind::Published(published)) => Ok(Self::Published {
                name: published.name.clone(),
                version: published.version,
            }),
            None => Err(InvalidMessage::new(
                "model.kind",
                "must be one of softmax_regression, mlp, cnn, gpt, layers, published",
            )),
        }
    }
}

impl From<Activation> for v1::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Relu => Self::Relu,
            Activation::Gelu => Self::Gelu,
        }
    }
}

impl TryFrom<v1::Activation> for Activation {
    type Error = InvalidMessage;

    fn try_from(activation: v1::Activation) -> Result<Self, InvalidMessage> {
        match activation {
            v1::Activation::Relu => Ok(Self::Relu),
            v1::Activation::Gelu => Ok(Self::Gelu),
            v1::Activation::Unspecified => Err(InvalidMessage::new(
                "model.activation",
                "must be one of relu, gelu",
            )),
        }
    }
}

impl From<LocalDraft> for v1::LocalTraining {
    /// A draft that names both durations says neither on the wire, where there is room for one;
    /// the other side refuses it all the same.
    fn from(local: LocalDraft) -> Self {
        let duration = match (local.epochs, local.steps) {
            (Some(epochs), None) => Some(local_training::Duration::Epochs(epochs)),
            (None, Some(steps)) => Some(local_training::Duration::Steps(steps)),
            (None, None) | (Some(_), Some(_)) => None,
        };
        Self {
            duration,
            batch_size: Some(local.batch_size),
            optimizer: Some(local.optimizer.into()),
            schedule: training::schedule(local.schedule),
            clip_norm: local.clip_norm,
        }
    }
}

impl TryFrom<&v1::LocalTraining> for LocalDraft {
    type Error = InvalidMessage;

    fn try_from(message: &v1::LocalTraining) -> Result<Self, InvalidMessage> {
        let (epochs, steps) = match message.duration {
            Some(local_training::Duration::Epochs(epochs)) => (Some(epochs), None),
            Some(local_training::Duration::Steps(steps)) => (None, Some(steps)),
            None => (None, None),
        };
        let optimizer = message.optimizer.as_ref();
        let optimizer = optimizer.ok_or_else(|| InvalidMessage::missing("local.optimizer"))?;
        Ok(Self {
            epochs,
            steps,
            batch_size: message.batch_size.unwrap_or(LocalTraining::BATCH_SIZE),
            optimizer: optimizer.try_into()?,
            schedule: training::unscheduled(message.schedule.as_ref())?,
            clip_norm: message.clip_norm,
        })
    }
}

impl From<Strategy> for v1::Strategy {
    fn from(strategy: Strategy) -> Self {
        let Strategy::FedAvg { weighting } = strategy;
        let weighting = match weighting {
            Weighting::Examples => v1::Weighting::Examples,
            Weighting::Uniform => v1::Weighting::Uniform,
        };
        Self {
            kind: Some(strategy::Kind::FedAvg(strategy::FedAvg {
                weighting: weighting.into(),
            })),
        }
    }
}

impl TryFrom<v1::Strategy> for Strategy {
    type Error = InvalidMessage;

    fn try_from(message: v1::Strategy) -> Result<Self, InvalidMessage> {
        match message.kind {
            Some(strategy::Kind::FedAvg(fed_avg)) => Ok(Self::FedAvg {
                weighting: match fed_avg.weighting() {
                    v1::Weighting::Examples | v1::Weighting::Unspecified => Weighting::Examples,
                    v1::Weighting::Uniform => Weighting::Uniform,
                },
            }),
            None => Err(InvalidMessage::new("strategy.kind", "must be fedavg")),
        }
    }
}

impl From<CohortDraft> for v1::Cohort {
    fn from(cohort: CohortDraft) -> Self {
        Self {
            fraction: Some(cohort.fraction),
            min_clients: Some(cohort.min_clients),
            quorum: Some(cohort.quorum),
            deadline_ms: Some(u64::try_from(cohort.deadline.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<&v1::Cohort> for CohortDraft {
    fn from(message: &v1::Cohort) -> Self {
        let default = Self::default();
        let deadline = message.deadline_ms.map(Duration::from_millis);
        Self {
            fraction: message.fraction.unwrap_or(default.fraction),
            min_clients: message.min_clients.unwrap_or(default.min_clients),
            quorum: message.quorum.unwrap_or(default.quorum),
            deadline: deadline.unwrap_or(default.deadline),
        }
    }
}

impl From<StopDraft> for v1::StopRule {
    fn from(stop: StopDraft) -> Self {
        let target = |target: Target| stop_rule::Target {
            metric: match target.metric {
                Metric::Accuracy => v1::Metric::Accuracy,
                Metric::Loss => v1::Metric::Loss,
            }
            .into(),
            value: target.value,
        };
        Self {
            target: stop.target.map(target),
            patience: stop.patience,
        }
    }
}

impl TryFrom<v1::StopRule> for StopDraft {
    type Error = InvalidMessage;

    fn try_from(message: v1::StopRule) -> Result<Self, InvalidMessage> {
        let target = |target: stop_rule::Target| {
            let metric = match target.metric() {
                v1::Metric::Accuracy => Metric::Accuracy,
                v1::Metric::Loss => Metric::Loss,
                v1::Metric::Unspecified => {
                    return Err(InvalidMessage::new(
                        "stop.target.metric",
                        "must be one of accuracy, loss",
                    ));
                }
            };
            let value = target.value;
            Ok(Target { metric, value })
        };
        Ok(Self {
            target: message.target.map(target).transpose()?,
            patience: message.patience,
        })
    }
}

#[cfg(test)]
mod tests;
