//! What models yield, their losses and their gradients, against what NumPy computed; and what
//! optimizers make of them step by step, against what PyTorch computed.
//!
//! `fixtures/layers.py` made `fixtures/layers.json`, which also holds the layers as files say them,
//! and `fixtures/steps.py` made `fixtures/steps.json`.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the fixture's numbers are whole or exact in f32"
)]

use compute_core::engine::{Examples, Progress, TrainError, Trainer, evaluate, predict};
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, Loss, ModelSpec};
use serde::Deserialize;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

#[derive(Deserialize)]
struct Fixture {
    name: String,
    layers: Architecture,
    features: Vec<f32>,
    targets: Vec<f32>,
    parameters: Vec<f32>,
    yields: Vec<f64>,
    loss: f64,
    gradient: Vec<f64>,
}

fn fixtures() -> Vec<Fixture> {
    serde_json::from_str(include_str!("fixtures/layers.json")).unwrap()
}

fn assert_close(name: &str, actual: f64, expected: f64) {
    let error = (actual - expected).abs();
    assert!(
        error < 1e-5 * expected.abs().max(1.0),
        "{name}: {actual} is not {expected}"
    );
}

impl Fixture {
    fn labels(&self) -> Vec<u32> {
        self.targets.iter().map(|target| *target as u32).collect()
    }

    fn examples<'a>(&'a self, labels: &'a [u32]) -> Examples<'a> {
        match self.layers.loss() {
            Loss::Regression => {
                Examples::with_targets(&self.layers, &self.features, &self.targets).unwrap()
            }
            _ => Examples::new(&self.layers, &self.features, labels).unwrap(),
        }
    }
}

#[test]
fn models_yield_what_numpy_says() {
    for fixture in fixtures() {
        let yielded = predict(
            &fixture.layers,
            &fixture.parameters,
            &fixture.features,
            NonZeroUsize::MIN,
        )
        .unwrap();
        assert_eq!(yielded.len(), fixture.yields.len(), "{}", fixture.name);
        let outputs = fixture.layers.outputs();
        let rows = fixture.yields.chunks(outputs).zip(yielded.chunks(outputs));
        for (expected, actual) in rows {
            let sum: f64 = expected.iter().map(|z| z.exp()).sum();
            for (expected, actual) in expected.iter().zip(actual) {
                let expected = match fixture.layers.loss() {
                    Loss::Regression => *expected,
                    _ => expected.exp() / sum,
                };
                assert_close(&fixture.name, f64::from(*actual), expected);
            }
        }
    }
}

#[test]
fn losses_are_what_numpy_says() {
    for fixture in fixtures() {
        let labels = fixture.labels();
        let examples = fixture.examples(&labels);
        let measured = evaluate(
            &fixture.layers,
            &fixture.parameters,
            &examples,
            NonZeroUsize::MIN,
        );
        assert_close(&fixture.name, measured.unwrap().loss, fixture.loss);
    }
}

#[test]
fn gradients_are_what_numpy_says() {
    for fixture in fixtures() {
        let labels = fixture.labels();
        let examples = fixture.examples(&labels);
        let training = LocalTraining {
            duration: LocalDuration::Steps(1),
            batch_size: 100,
            optimizer: Optimizer::Sgd {
                learning_rate: 1.0,
                momentum: 0.0,
                weight_decay: 0.0,
            },
            schedule: Schedule::Constant,
            clip_norm: None,
        };
        let mut moved = fixture.parameters.clone();
        Trainer::new(
            &fixture.layers,
            &training,
            examples.rows(),
            NonZeroUsize::MIN,
        )
        .unwrap()
        .train(&mut moved, &examples, 1, &mut |_| ControlFlow::Continue(()))
        .unwrap();
        let pairs = fixture.parameters.iter().zip(&moved);
        for (expected, (before, after)) in fixture.gradient.iter().zip(pairs) {
            assert_close(&fixture.name, f64::from(before - after), *expected);
        }
    }
}

/// A training of several steps on all rows at once.
#[derive(Deserialize)]
struct Steps {
    name: String,
    optimizer: Optimizer,
    #[serde(default)]
    schedule: Schedule,
    clip_norm: Option<f32>,
    features: Vec<f32>,
    labels: Vec<u32>,
    parameters: Vec<f32>,
    /// How long each step's gradient was before it was clipped.
    norms: Vec<f32>,
    /// The parameters after each step.
    after: Vec<Vec<f64>>,
}

fn trainings() -> Vec<Steps> {
    serde_json::from_str(include_str!("fixtures/steps.json")).unwrap()
}

impl Steps {
    /// The parameters after `step` of all the steps, on which a schedule depends.
    fn parameters_after(&self, step: usize) -> Vec<f32> {
        let spec = ModelSpec::Mlp {
            hidden: vec![8],
            activation: Activation::Gelu,
        };
        let architecture = spec.architecture(6, 3).unwrap();
        let training = LocalTraining {
            duration: LocalDuration::Steps(self.after.len() as u32),
            batch_size: 100,
            optimizer: self.optimizer,
            schedule: self.schedule,
            clip_norm: self.clip_norm,
        };
        let examples = Examples::new(&architecture, &self.features, &self.labels).unwrap();
        let mut parameters = self.parameters.clone();
        let mut watch = |progress: Progress| match progress.step == step as u64 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let cancelled = Trainer::new(&architecture, &training, examples.rows(), NonZeroUsize::MIN)
            .unwrap()
            .train(&mut parameters, &examples, 1, &mut watch);
        assert_eq!(cancelled, Err(TrainError::Cancelled { step: step as u64 }));
        parameters
    }
}

#[test]
fn every_step_is_what_pytorch_says() {
    for training in trainings() {
        for (step, expected) in (1..).zip(&training.after) {
            let actual = training.parameters_after(step);
            assert_eq!(actual.len(), expected.len());
            let name = format!("{}, step {step}", training.name);
            for (actual, expected) in actual.iter().zip(expected) {
                assert_close(&name, f64::from(*actual), *expected);
            }
        }
    }
}

/// Otherwise the fixture would not tell one from the other.
#[test]
fn some_steps_are_clipped_and_some_are_not() {
    for training in trainings() {
        if let Some(longest) = training.clip_norm {
            let clipped = training.norms.iter().filter(|norm| **norm > longest);
            let clipped = clipped.count();
            assert!(clipped > 0 && clipped < training.norms.len(), "{clipped}");
        }
    }
}
