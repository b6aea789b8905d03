//! Losses, probabilities and gradients against a plain model in `f64`.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use compute_core::engine::{Examples, Trainer, evaluate, initial_parameters, predict};
use federation::local::{LocalDuration, LocalTraining, Optimizer};
use federation::model::{Activation, Architecture, Layer, ModelSpec};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

const ROWS: usize = 7;
const INPUTS: usize = 5;
const CLASSES: usize = 3;

/// Logits of one row, straight from the definitions of the layers.
fn plain_logits(architecture: &Architecture, parameters: &[f64], row: &[f32]) -> Vec<f64> {
    let mut values: Vec<f64> = row.iter().copied().map(f64::from).collect();
    let mut rest = parameters;
    for layer in architecture.layers() {
        values = match *layer {
            Layer::Linear { inputs, outputs } => {
                let (bias, others) = rest.split_at(outputs);
                let (weight, others) = others.split_at(inputs * outputs);
                rest = others;
                let dot = |weights: &[f64]| -> f64 {
                    weights.iter().zip(&values).map(|(w, x)| w * x).sum()
                };
                weight
                    .chunks(inputs)
                    .zip(bias)
                    .map(|(weights, bias)| dot(weights) + bias)
                    .collect()
            }
            Layer::Relu => values.iter().map(|x| x.max(0.0)).collect(),
            Layer::Gelu => values.iter().copied().map(plain_gelu).collect(),
        };
    }
    values
}

fn plain_gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

/// Mean cross-entropy over the rows.
fn plain_loss(
    architecture: &Architecture,
    parameters: &[f64],
    features: &[f32],
    labels: &[u32],
) -> f64 {
    let losses = features.chunks(INPUTS).zip(labels).map(|(row, label)| {
        let logits = plain_logits(architecture, parameters, row);
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        sum.ln() - logits[*label as usize]
    });
    losses.sum::<f64>() / labels.len() as f64
}

fn features() -> Vec<f32> {
    (0..ROWS * INPUTS)
        .map(|i| ((i * 37) % 23) as f32 / 10.0 - 1.1)
        .collect()
}

fn labels() -> Vec<u32> {
    (0..3).cycle().take(ROWS).collect()
}

/// The gradient of the mean loss, read off one step of plain descent with rate 1.
fn gradient(architecture: &Architecture, parameters: &[f32]) -> Vec<f32> {
    let training = LocalTraining {
        duration: LocalDuration::Steps(1),
        batch_size: 7,
        optimizer: Optimizer::Sgd {
            learning_rate: 1.0,
            momentum: 0.0,
            weight_decay: 0.0,
        },
    };
    let (features, labels) = (features(), labels());
    let examples = Examples::new(architecture, &features, &labels).unwrap();
    let mut moved = parameters.to_vec();
    Trainer::new(architecture, &training, ROWS, NonZeroUsize::MIN)
        .unwrap()
        .train(&mut moved, &examples, 1, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let pairs = parameters.iter().zip(moved);
    pairs.map(|(before, after)| before - after).collect()
}

fn check(architecture: &Architecture) {
    let parameters = initial_parameters(architecture, 11);
    let exact: Vec<f64> = parameters.iter().copied().map(f64::from).collect();
    let (features, labels) = (features(), labels());

    let examples = Examples::new(architecture, &features, &labels).unwrap();
    let loss = evaluate(architecture, &parameters, &examples, NonZeroUsize::MIN)
        .unwrap()
        .loss;
    let truth = plain_loss(architecture, &exact, &features, &labels);
    assert!((loss - truth).abs() < 1e-6, "loss {loss} is not {truth}");

    for (index, slope) in gradient(architecture, &parameters).into_iter().enumerate() {
        let at = |offset: f64| {
            let mut moved = exact.clone();
            moved[index] += offset;
            plain_loss(architecture, &moved, &features, &labels)
        };
        let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
        assert!(
            (f64::from(slope) - difference).abs() < 1e-6,
            "parameter {index}: {slope} is not {difference}"
        );
    }
}

fn mlp(activation: Activation) -> Architecture {
    let hidden = vec![6, 4];
    let spec = ModelSpec::Mlp { hidden, activation };
    spec.architecture(INPUTS, CLASSES).unwrap()
}

#[test]
fn softmax_regression_follows_central_differences() {
    let spec = ModelSpec::SoftmaxRegression;
    check(&spec.architecture(INPUTS, CLASSES).unwrap());
}

#[test]
fn an_mlp_with_rectifiers_follows_central_differences() {
    check(&mlp(Activation::Relu));
}

#[test]
fn an_mlp_with_gelus_follows_central_differences() {
    check(&mlp(Activation::Gelu));
}

#[test]
fn layers_in_unusual_order_follow_central_differences() {
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs };
    let layers = vec![
        Layer::Gelu,
        linear(INPUTS, 6),
        linear(6, 5),
        Layer::Gelu,
        Layer::Relu,
        Layer::Gelu,
        linear(5, CLASSES),
    ];
    check(&Architecture::new(layers).unwrap());
}

#[test]
fn probabilities_are_the_softmax_of_the_logits() {
    let architecture = mlp(Activation::Gelu);
    let parameters = initial_parameters(&architecture, 11);
    let exact: Vec<f64> = parameters.iter().copied().map(f64::from).collect();
    let features = features();
    let probabilities = predict(&architecture, &parameters, &features, NonZeroUsize::MIN).unwrap();
    assert_eq!(probabilities.len(), ROWS * CLASSES);
    let rows = features.chunks(INPUTS).zip(probabilities.chunks(CLASSES));
    for (row, probabilities) in rows {
        let logits = plain_logits(&architecture, &exact, row);
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        for (logit, probability) in logits.iter().zip(probabilities) {
            assert!((logit.exp() / sum - f64::from(*probability)).abs() < 1e-6);
        }
    }
}
