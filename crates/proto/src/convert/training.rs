//! Architectures and local training.

use federation::local::{LocalDuration, LocalTraining, Optimizer};
use federation::model::{Architecture, Layer};

use super::InvalidMessage;
use crate::v1;
use crate::v1::{layer, local_training, optimizer};

impl From<&Architecture> for v1::Architecture {
    fn from(architecture: &Architecture) -> Self {
        let layer = |layer: &Layer| {
            let kind = match *layer {
                Layer::Linear { inputs, outputs } => layer::Kind::Linear(layer::Linear {
                    inputs: inputs as u64,
                    outputs: outputs as u64,
                }),
                Layer::Relu => layer::Kind::Relu(layer::Relu {}),
                Layer::Gelu => layer::Kind::Gelu(layer::Gelu {}),
            };
            v1::Layer { kind: Some(kind) }
        };
        Self {
            layers: architecture.layers().iter().map(layer).collect(),
        }
    }
}

impl TryFrom<&v1::Architecture> for Architecture {
    type Error = InvalidMessage;

    fn try_from(message: &v1::Architecture) -> Result<Self, InvalidMessage> {
        let width = |width: u64| usize::try_from(width).unwrap_or(usize::MAX);
        let layer = |(index, layer): (usize, &v1::Layer)| match &layer.kind {
            Some(layer::Kind::Linear(linear)) => Ok(Layer::Linear {
                inputs: width(linear.inputs),
                outputs: width(linear.outputs),
            }),
            Some(layer::Kind::Relu(_)) => Ok(Layer::Relu),
            Some(layer::Kind::Gelu(_)) => Ok(Layer::Gelu),
            None => Err(InvalidMessage::new(
                format!("model.layers[{index}]"),
                "must be one of linear, relu, gelu",
            )),
        };
        let layers = message
            .layers
            .iter()
            .enumerate()
            .map(layer)
            .collect::<Result<_, _>>()?;
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
        })
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
