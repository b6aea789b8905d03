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
    /// How the learning rate changes over the steps.
    #[serde(default)]
    pub schedule: Schedule,
    /// The longest that a step's gradient may be, as one vector of all parameters: a longer one is
    /// made that long. Any length where it is `None`.
    #[serde(default)]
    pub clip_norm: Option<f32>,
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

/// How the learning rate changes over a client's steps in one round, each of which begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// It rises in a line over the first steps, up to the optimizer's rate.
    Warmup {
        /// How many steps.
        steps: u32,
    },
    /// It rises over the first steps, then falls like half a cosine (Loshchilov and Hutter 2017,
    /// section 3, arXiv 1608.03983, without restarts).
    Cosine {
        /// Steps of the rise.
        #[serde(default)]
        warmup_steps: u32,
        /// The share of the rate that the last step would reach if there were one more.
        #[serde(default)]
        floor: f32,
    },
    /// It is multiplied by a factor every so many steps.
    Staircase {
        /// How many steps.
        every: u32,
        /// By what.
        factor: f32,
    },
}

impl Schedule {
    /// What the optimizer's rate is multiplied by at step `step` of `steps_total`, counted from 1.
    #[must_use]
    pub fn factor(self, step: u64, steps_total: u64) -> f64 {
        let rise = |steps: u32| step as f64 / f64::from(steps.max(1));
        match self {
            Self::Constant => 1.0,
            Self::Warmup { steps } => rise(steps).min(1.0),
            Self::Cosine { warmup_steps, .. } if step <= u64::from(warmup_steps) => {
                rise(warmup_steps)
            }
            Self::Cosine {
                warmup_steps,
                floor,
            } => {
                let (warmup, floor) = (u64::from(warmup_steps), f64::from(floor));
                let done = (step - warmup - 1) as f64;
                let all = steps_total.saturating_sub(warmup).max(1) as f64;
                let fall = 0.5 * (1.0 + (std::f64::consts::PI * done / all).cos());
                floor + (1.0 - floor) * fall
            }
            Self::Staircase { every, factor } => {
                let stairs = step.saturating_sub(1) / u64::from(every.max(1));
                f64::from(factor).powf(stairs as f64)
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn factors<const N: usize>(schedule: Schedule, steps: [u64; N]) -> [f64; N] {
        steps.map(|step| (schedule.factor(step, 10) * 1e6).round() / 1e6)
    }

    fn assert_close<const N: usize>(actual: [f64; N], expected: [f64; N]) {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 1e-6, "{actual:?} is not {expected:?}");
        }
    }

    #[test]
    fn a_constant_rate_is_the_optimizers() {
        assert_close(factors(Schedule::Constant, [1, 10]), [1.0, 1.0]);
    }

    #[test]
    fn a_warm_up_rises_in_a_line() {
        let schedule = Schedule::Warmup { steps: 4 };
        assert_close(
            factors(schedule, [1, 2, 4, 5, 10]),
            [0.25, 0.5, 1.0, 1.0, 1.0],
        );
    }

    #[test]
    fn a_cosine_begins_at_the_rate_and_nears_its_floor() {
        let schedule = Schedule::Cosine {
            warmup_steps: 0,
            floor: 0.2,
        };
        // By hand: 0.2 + 0.8 · ½ (1 + cos(π · done / 10)) for 0, 5 and 9 steps done.
        assert_close(factors(schedule, [1, 6, 10]), [1.0, 0.6, 0.219_577]);
        let schedule = Schedule::Cosine {
            warmup_steps: 2,
            floor: 0.0,
        };
        assert_close(factors(schedule, [1, 2, 3, 7]), [0.5, 1.0, 1.0, 0.5]);
    }

    #[test]
    fn a_staircase_falls_every_so_many_steps() {
        let schedule = Schedule::Staircase {
            every: 3,
            factor: 0.5,
        };
        assert_close(
            factors(schedule, [1, 3, 4, 6, 7]),
            [1.0, 1.0, 0.5, 0.5, 0.25],
        );
    }

    #[test]
    fn what_was_stored_without_a_schedule_has_a_constant_one() {
        let text = r#"{"duration":{"epochs":1},"batch_size":4,
            "optimizer":{"kind":"sgd","learning_rate":0.1}}"#;
        let local: LocalTraining = serde_json::from_str(text).unwrap();
        assert_eq!(
            (local.schedule, local.clip_norm),
            (Schedule::Constant, None)
        );
    }
}
