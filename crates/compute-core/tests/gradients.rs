//! Losses, probabilities and gradients against a plain model in `f64`.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(clippy::float_cmp, reason = "tokens are whole numbers")]

#[path = "gradients/plain.rs"]
mod plain;

use compute_core::engine::{Examples, Trainer, evaluate, initial_parameters, predict};
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, Layer, Loss, ModelSpec};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

const ROWS: usize = 7;
const INPUTS: usize = 5;
const CLASSES: usize = 3;

/// Parameters of a model that are looked at.
const PARAMETERS_MAX: usize = 700;

/// Rows that fit a model, and what they are held against.
struct Shard {
    features: Vec<f32>,
    /// As labels, and as numbers.
    labels: Vec<u32>,
    targets: Vec<f32>,
}

impl Shard {
    fn new(architecture: &Architecture) -> Self {
        let len = ROWS * architecture.inputs();
        let tokens = match architecture.layers()[0] {
            Layer::Embedding { vocabulary, .. } => Some(vocabulary),
            _ => None,
        };
        let feature = |i: usize| match tokens {
            Some(vocabulary) => (i * i + i / 3) as f32 % vocabulary as f32,
            None => ((i * 37) % 23) as f32 / 10.0 - 1.1,
        };
        let outputs = u32::try_from(architecture.outputs()).unwrap();
        let labels: Vec<u32> = (0..outputs).cycle().take(ROWS).collect();
        let targets = match architecture.loss() {
            Loss::Regression => (0..ROWS * architecture.outputs())
                .map(|i| (i % 5) as f32 / 3.0)
                .collect(),
            _ => labels.iter().map(|label| *label as f32).collect(),
        };
        Self {
            features: (0..len).map(feature).collect(),
            labels,
            targets,
        }
    }

    fn examples(&self, architecture: &Architecture) -> Examples<'_> {
        match architecture.loss() {
            Loss::Regression => Examples::with_targets(architecture, &self.features, &self.targets),
            _ => Examples::new(architecture, &self.features, &self.labels),
        }
        .unwrap()
    }

    fn plain_loss(&self, architecture: &Architecture, parameters: &[f64]) -> f64 {
        plain::loss(architecture, parameters, &self.features, &self.targets)
    }
}

/// The gradient of the mean loss, read off one step of plain descent with rate 1.
fn gradient(architecture: &Architecture, parameters: &[f32], shard: &Shard) -> Vec<f32> {
    let training = LocalTraining {
        duration: LocalDuration::Steps(1),
        batch_size: 7,
        schedule: Schedule::Constant,
        clip_norm: None,
        optimizer: Optimizer::Sgd {
            learning_rate: 1.0,
            momentum: 0.0,
            weight_decay: 0.0,
        },
    };
    let mut moved = parameters.to_vec();
    Trainer::new(architecture, &training, ROWS, NonZeroUsize::MIN)
        .unwrap()
        .train(&mut moved, &shard.examples(architecture), 1, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
    let pairs = parameters.iter().zip(moved);
    pairs.map(|(before, after)| before - after).collect()
}

fn check(architecture: &Architecture) {
    let mut parameters = initial_parameters(architecture, 11);
    // Norms start with 0 and 1, where faults would hide.
    for (index, parameter) in parameters.iter_mut().enumerate() {
        *parameter += ((index * 29) % 17) as f32 / 200.0 - 0.04;
    }
    let exact: Vec<f64> = parameters.iter().copied().map(f64::from).collect();
    let shard = Shard::new(architecture);

    let examples = shard.examples(architecture);
    let loss = evaluate(architecture, &parameters, &examples, NonZeroUsize::MIN)
        .unwrap()
        .loss;
    let truth = shard.plain_loss(architecture, &exact);
    assert!((loss - truth).abs() < 2e-6, "loss {loss} is not {truth}");

    let slopes = gradient(architecture, &parameters, &shard);
    assert!(slopes.iter().any(|slope| slope.abs() > 1e-3));
    // Of very many the differences would take minutes.
    let every = slopes.len().div_ceil(PARAMETERS_MAX);
    for (index, slope) in slopes.into_iter().enumerate().step_by(every) {
        let at = |offset: f64| {
            let mut moved = exact.clone();
            moved[index] += offset;
            shard.plain_loss(architecture, &moved)
        };
        let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
        assert!(
            (f64::from(slope) - difference).abs() < 2e-6 * difference.abs().max(1.0),
            "parameter {index}: {slope} is not {difference}"
        );
    }
}

fn check_layers(layers: &[Layer]) {
    check(&Architecture::new(layers.to_vec()).unwrap());
}

fn mlp(activation: Activation) -> Architecture {
    let hidden = vec![6, 4];
    let spec = ModelSpec::Mlp { hidden, activation };
    spec.architecture(INPUTS, CLASSES).unwrap()
}

fn linear(inputs: usize, outputs: usize) -> Layer {
    Layer::Linear { inputs, outputs }
}

fn image(channels: usize, height: usize, width: usize) -> Layer {
    Layer::Image {
        channels,
        height,
        width,
    }
}

fn convolution(
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Layer {
    Layer::Convolution {
        inputs,
        outputs,
        kernel,
        stride,
        padding,
    }
}

fn max_pool(kernel: usize, stride: usize) -> Layer {
    Layer::MaxPool { kernel, stride }
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
    check_layers(&[
        Layer::Gelu,
        linear(INPUTS, 6),
        linear(6, 5),
        Layer::Gelu,
        Layer::Relu,
        Layer::Gelu,
        linear(5, CLASSES),
    ]);
}

#[test]
fn convolutions_and_pools_follow_central_differences() {
    check_layers(&[
        image(2, 6, 5),
        convolution(2, 3, 3, 1, 1),
        Layer::Relu,
        max_pool(2, 2),
        convolution(3, 4, 2, 1, 0),
        Layer::Relu,
        Layer::Flatten,
        linear(8, 5),
        Layer::Relu,
        linear(5, CLASSES),
    ]);
}

#[test]
fn convolutions_with_strides_and_gelus_follow_central_differences() {
    check_layers(&[
        image(1, 9, 7),
        convolution(1, 3, 3, 2, 2),
        Layer::Gelu,
        Layer::AveragePool {
            kernel: 3,
            stride: 1,
        },
        convolution(3, 2, 1, 1, 0),
        max_pool(2, 1),
        Layer::Gelu,
        Layer::Flatten,
        Layer::Relu,
        linear(12, CLASSES),
    ]);
}

#[test]
fn a_pool_with_overlapping_windows_follows_central_differences() {
    check_layers(&[
        image(1, 5, 5),
        convolution(1, 2, 3, 1, 1),
        max_pool(3, 2),
        Layer::Relu,
        Layer::Flatten,
        linear(8, CLASSES),
    ]);
}

/// As many channels as make it worth it, in and out.
#[test]
fn convolutions_tile_by_tile_follow_central_differences() {
    let sizes = [(5, 4, 1), (4, 5, 0), (3, 3, 2)];
    for (height, width, padding) in sizes {
        let (out_height, out_width) = (height + 2 * padding - 2, width + 2 * padding - 2);
        check_layers(&[
            image(2, height, width),
            convolution(2, 16, 1, 1, 0),
            convolution(16, 16, 3, 1, padding),
            Layer::Gelu,
            Layer::Flatten,
            linear(16 * out_height * out_width, CLASSES),
        ]);
    }
}

#[test]
fn a_residual_block_of_convolutions_follows_central_differences() {
    check_layers(&[
        image(1, 4, 4),
        convolution(1, 3, 3, 1, 1),
        Layer::Fork,
        Layer::Relu,
        convolution(3, 3, 3, 1, 1),
        Layer::Fork,
        Layer::Gelu,
        Layer::Join,
        Layer::Join,
        max_pool(2, 2),
        Layer::Flatten,
        linear(12, CLASSES),
    ]);
}

#[test]
fn a_residual_block_of_linear_layers_and_norms_follows_central_differences() {
    check_layers(&[
        Layer::LayerNorm { width: INPUTS },
        linear(INPUTS, 6),
        Layer::Fork,
        Layer::LayerNorm { width: 6 },
        linear(6, 7),
        Layer::Gelu,
        linear(7, 6),
        Layer::Join,
        linear(6, CLASSES),
    ]);
}

/// One block of a small language model.
fn block(width: usize, heads: usize) -> Vec<Layer> {
    vec![
        Layer::Fork,
        Layer::LayerNorm { width },
        linear(width, 3 * width),
        Layer::Attention { width, heads },
        linear(width, width),
        Layer::Join,
        Layer::Fork,
        Layer::LayerNorm { width },
        linear(width, 2 * width),
        Layer::Gelu,
        linear(2 * width, width),
        Layer::Join,
    ]
}

fn embedding(width: usize) -> Layer {
    embedding_of(4, width)
}

fn embedding_of(context: usize, width: usize) -> Layer {
    Layer::Embedding {
        vocabulary: 5,
        width,
        context,
    }
}

#[test]
fn a_language_model_with_a_tied_head_follows_central_differences() {
    let mut layers = vec![embedding(6)];
    layers.extend(block(6, 2));
    layers.extend(block(6, 3));
    layers.extend([Layer::LayerNorm { width: 6 }, Layer::TiedHead]);
    check_layers(&layers);
}

#[test]
fn a_language_model_with_a_head_of_its_own_follows_central_differences() {
    let mut layers = vec![embedding(4)];
    layers.extend(block(4, 1));
    layers.push(linear(4, 5));
    check_layers(&layers);
}

/// Attention takes 32 positions together.
#[test]
fn attention_over_more_than_a_block_of_positions_follows_central_differences() {
    for context in [32, 71] {
        let mut layers = vec![embedding_of(context, 4)];
        layers.extend(block(4, 2));
        layers.push(Layer::TiedHead);
        check_layers(&layers);
    }
}

#[test]
fn forks_around_any_layer_follow_central_differences() {
    check_layers(&[
        embedding(4),
        Layer::Fork,
        linear(4, 12),
        Layer::Fork,
        Layer::Attention { width: 4, heads: 2 },
        Layer::Fork,
        Layer::LayerNorm { width: 4 },
        Layer::Join,
        linear(4, 12),
        Layer::Join,
        Layer::Gelu,
        linear(12, 4),
        Layer::Join,
        Layer::TiedHead,
    ]);
    check_layers(&[
        image(1, 3, 3),
        convolution(1, 2, 3, 1, 1),
        Layer::Fork,
        Layer::AveragePool {
            kernel: 1,
            stride: 1,
        },
        Layer::Fork,
        max_pool(1, 1),
        Layer::Join,
        Layer::Join,
        Layer::Flatten,
        Layer::Fork,
        linear(18, 18),
        Layer::Join,
        linear(18, CLASSES),
    ]);
}

#[test]
fn a_classifier_of_sequences_follows_central_differences() {
    let mut layers = vec![embedding(4)];
    layers.extend(block(4, 2));
    layers.extend([Layer::Flatten, Layer::Gelu, linear(16, CLASSES)]);
    check_layers(&layers);
}

#[test]
fn regressions_follow_central_differences() {
    check_layers(&[
        linear(INPUTS, 4),
        Layer::Gelu,
        linear(4, 2),
        Layer::Regression,
    ]);
    check_layers(&[
        linear(INPUTS, 4),
        Layer::Fork,
        Layer::Relu,
        Layer::Join,
        linear(4, 2),
        Layer::Regression,
    ]);
    // Twice itself.
    check_layers(&[
        linear(INPUTS, 4),
        Layer::LayerNorm { width: 4 },
        Layer::Fork,
        Layer::Join,
        linear(4, 2),
        Layer::Regression,
    ]);
}

#[test]
fn probabilities_are_the_softmax_of_the_logits() {
    let mut layers = vec![embedding(6)];
    layers.extend(block(6, 2));
    layers.push(Layer::TiedHead);
    let sequences = Architecture::new(layers).unwrap();
    for architecture in [mlp(Activation::Gelu), sequences] {
        let parameters = initial_parameters(&architecture, 11);
        let exact: Vec<f64> = parameters.iter().copied().map(f64::from).collect();
        let features = Shard::new(&architecture).features;
        let probabilities =
            predict(&architecture, &parameters, &features, NonZeroUsize::MIN).unwrap();
        let classes = architecture.outputs();
        let logits = features
            .chunks(architecture.inputs())
            .flat_map(|row| plain::yields(&architecture, &exact, row))
            .collect::<Vec<_>>();
        assert_eq!(probabilities.len(), logits.len());
        for (logits, probabilities) in logits.chunks(classes).zip(probabilities.chunks(classes)) {
            let sum: f64 = logits.iter().map(|z| z.exp()).sum();
            for (logit, probability) in logits.iter().zip(probabilities) {
                assert!((logit.exp() / sum - f64::from(*probability)).abs() < 1e-6);
            }
        }
    }
}
