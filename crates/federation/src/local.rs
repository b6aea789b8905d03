//! What a client does with its shard in one round.

use serde::{Deserialize, Serialize};

/// Local training: how long, in which batches, by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LocalTraining {
    /// When a client stops.
    pub duration: LocalDuration,
    /// Rows per step; the last batch of an epoch may be smaller.
    pub batch_size: u32,
    /// How gradients change the parameters.
    pub optimizer: Optimizer,
}

impl LocalTraining {
    /// Rows per step where nothing else is said.
    pub const BATCH_SIZE: u32 = 32;
}

/// How long a client trains in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalDuration {
    /// Passes over the shard.
    Epochs(u32),
    /// Batches, wrapping over the shard as often as needed.
    Steps(u32),
}

/// The rule by which gradients change parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent: `v ← μv + g + λw`, `w ← w − ηv`.
    Sgd {
        /// η.
        learning_rate: f32,
        /// μ; zero for plain SGD.
        #[serde(default)]
        momentum: f32,
        /// λ, coupled as in PyTorch's `SGD`.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101).
    #[serde(rename = "adamw")]
    AdamW {
        /// η.
        learning_rate: f32,
        /// Decay of the mean of gradients.
        #[serde(default = "default_beta1")]
        beta1: f32,
        /// Decay of the mean of squared gradients.
        #[serde(default = "default_beta2")]
        beta2: f32,
        /// Keeps the division finite.
        #[serde(default = "default_epsilon")]
        epsilon: f32,
        /// λ, decoupled.
        #[serde(default = "default_weight_decay")]
        weight_decay: f32,
    },
}

impl Optimizer {
    // The defaults of the AdamW paper and of PyTorch.
    /// Default decay of the mean of gradients.
    pub const BETA1: f32 = 0.9;
    /// Default decay of the mean of squared gradients.
    pub const BETA2: f32 = 0.999;
    /// Default ε.
    pub const EPSILON: f32 = 1e-8;
    /// Default λ of `AdamW`.
    pub const WEIGHT_DECAY: f32 = 0.01;
}

fn default_beta1() -> f32 {
    Optimizer::BETA1
}
fn default_beta2() -> f32 {
    Optimizer::BETA2
}
fn default_epsilon() -> f32 {
    Optimizer::EPSILON
}
fn default_weight_decay() -> f32 {
    Optimizer::WEIGHT_DECAY
}
