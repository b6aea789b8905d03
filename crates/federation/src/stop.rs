//! When a run may end before its last round.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// What ends a run early. Without either, a run lasts all its rounds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StopRule {
    /// The model is good enough.
    pub target: Option<Target>,
    /// The model has stopped getting better: so many evaluated rounds without a lower loss.
    pub patience: Option<NonZeroU32>,
}

impl StopRule {
    /// Whether it depends on what evaluations measure.
    #[must_use]
    pub fn looks_at_metrics(&self) -> bool {
        self.target.is_some() || self.patience.is_some()
    }
}

/// A metric and the value from which on a run may stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What is watched.
    pub metric: Metric,
    /// Reached from below for the accuracy, from above for the loss.
    pub value: f64,
}

/// What an evaluation measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The fraction of rows whose class is right.
    Accuracy,
    /// The mean cross-entropy, in nats, or the mean squared error of a regression.
    Loss,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "loss",
        })
    }
}

/// What the evaluation after a round measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundMetrics {
    /// Which round, from 1; 0 is the initial model.
    pub round: u32,
    /// See [`Metric::Loss`].
    pub loss: f64,
    /// See [`Metric::Accuracy`]; a regression has none.
    pub accuracy: Option<f64>,
}

impl RoundMetrics {
    fn value_of(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::Loss => Some(self.loss),
        }
    }
}

/// Why a run ended before its last round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StopReason {
    /// The model is good enough.
    TargetReached {
        /// What was watched.
        metric: Metric,
        /// What it came to.
        value: f64,
        /// The first round in which it did.
        round: u32,
    },
    /// The loss has not fallen for as long as the rule allows.
    NoImprovement {
        /// The round of the lowest loss.
        best_round: u32,
        /// How many evaluated rounds the rule waited after it.
        patience: NonZeroU32,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TargetReached {
                metric,
                value,
                round,
            } => write!(
                f,
                "the {metric} reached its target in round {round} with {value:.4}"
            ),
            Self::NoImprovement {
                best_round,
                patience,
            } => write!(
                f,
                "the loss has not fallen in {patience} rounds; round {best_round} was the best"
            ),
        }
    }
}

/// Whether a run with this `history`, in ascending rounds, should end now.
///
/// A target counts before patience does. A loss of NaN never reaches or improves anything.
#[must_use]
pub fn decide(rule: &StopRule, history: &[RoundMetrics]) -> Option<StopReason> {
    let reached = rule.target.and_then(|target| reach(target, history));
    reached.or_else(|| tire(rule.patience?, history))
}

fn reach(target: Target, history: &[RoundMetrics]) -> Option<StopReason> {
    let reaches = |value: f64| match target.metric {
        Metric::Accuracy => value >= target.value,
        Metric::Loss => value <= target.value,
    };
    history.iter().find_map(|metrics| {
        let value = metrics.value_of(target.metric);
        let value = value.filter(|value| reaches(*value))?;
        Some(StopReason::TargetReached {
            metric: target.metric,
            value,
            round: metrics.round,
        })
    })
}

fn tire(patience: NonZeroU32, history: &[RoundMetrics]) -> Option<StopReason> {
    let mut best = history.first()?;
    let mut waited = 0;
    for metrics in &history[1..] {
        if metrics.loss < best.loss || (best.loss.is_nan() && !metrics.loss.is_nan()) {
            best = metrics;
            waited = 0;
        } else {
            waited += 1;
        }
    }
    (waited >= patience.get()).then_some(StopReason::NoImprovement {
        best_round: best.round,
        patience,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(losses: &[f64]) -> Vec<RoundMetrics> {
        (1..)
            .zip(losses)
            .map(|(round, &loss)| RoundMetrics {
                round,
                loss,
                accuracy: Some(0.5),
            })
            .collect()
    }

    fn patient(rounds: u32) -> StopRule {
        StopRule {
            target: None,
            patience: NonZeroU32::new(rounds),
        }
    }

    fn until(metric: Metric, value: f64) -> StopRule {
        StopRule {
            target: Some(Target { metric, value }),
            patience: None,
        }
    }

    #[test]
    fn without_a_rule_a_run_goes_on() {
        assert_eq!(decide(&StopRule::default(), &losses(&[1.0; 50])), None);
    }

    #[test]
    fn a_loss_target_is_reached_from_above() {
        let rule = until(Metric::Loss, 0.5);
        assert_eq!(decide(&rule, &losses(&[0.9, 0.6])), None);
        let reason = decide(&rule, &losses(&[0.9, 0.5, 0.7])).unwrap();
        assert_eq!(
            reason.to_string(),
            "the loss reached its target in round 2 with 0.5000"
        );
    }

    #[test]
    fn an_accuracy_target_is_reached_from_below() {
        let history = losses(&[0.9]);
        assert_eq!(decide(&until(Metric::Accuracy, 0.51), &history), None);
        assert!(decide(&until(Metric::Accuracy, 0.5), &history).is_some());
    }

    #[test]
    fn patience_counts_from_the_lowest_loss() {
        assert_eq!(
            decide(&patient(3), &losses(&[0.9, 0.4, 0.6, 0.4])),
            None,
            "an equal loss is no improvement, but only two rounds have passed"
        );
        let reason = decide(&patient(3), &losses(&[0.9, 0.4, 0.6, 0.4, 0.5])).unwrap();
        assert_eq!(
            reason.to_string(),
            "the loss has not fallen in 3 rounds; round 2 was the best"
        );
    }

    #[test]
    fn a_loss_that_is_not_a_number_neither_counts_nor_blocks() {
        let nan = f64::NAN;
        assert_eq!(decide(&until(Metric::Loss, 0.5), &losses(&[nan])), None);
        assert_eq!(decide(&patient(2), &losses(&[nan, 0.9, nan])), None);
        assert!(decide(&patient(2), &losses(&[nan, nan, nan])).is_some());
        assert_eq!(decide(&patient(1), &[]), None);
    }

    #[test]
    fn a_target_counts_before_patience() {
        let rule = StopRule {
            patience: NonZeroU32::new(1),
            ..until(Metric::Loss, 0.5)
        };
        let reason = decide(&rule, &losses(&[0.4, 0.6]));
        assert!(matches!(reason, Some(StopReason::TargetReached { .. })));
    }
}
