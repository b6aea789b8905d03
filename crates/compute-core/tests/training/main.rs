//! What training promises: the same bits for any number of threads, and learning.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod kernels;
mod refusals;

use compute_core::engine::{
    Examples, Progress, TrainReport, Trainer, evaluate, initial_parameters, predict,
};
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, Layer, Loss, ModelSpec};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

const SGD: Optimizer = Optimizer::Sgd {
    learning_rate: 0.05,
    momentum: 0.9,
    weight_decay: 1e-4,
};

const ADAMW: Optimizer = Optimizer::AdamW {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 0.01,
};

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn mlp(inputs: usize, hidden: &[usize], activation: Activation) -> Architecture {
    let hidden = hidden.to_vec();
    let spec = ModelSpec::Mlp { hidden, activation };
    spec.architecture(inputs, 10).unwrap()
}

/// Rows of ten classes; a row is bright at every tenth place, from its label on.
struct Shard {
    features: Vec<f32>,
    labels: Vec<u32>,
    /// Two for each row, for models that want numbers.
    targets: Vec<f32>,
}

impl Shard {
    fn new(rows: usize, inputs: usize) -> Self {
        let labels: Vec<u32> = (0..10).cycle().take(rows).collect();
        let value = |row: usize, column: usize| {
            let noise = ((row * 31 + column * 17) % 101) as f32 / 101.0;
            noise + if column % 10 == row % 10 { 1.0 } else { 0.0 }
        };
        let features = (0..rows * inputs).map(|i| value(i / inputs, i % inputs));
        let targets = labels.iter().flat_map(|label| {
            let label = *label as f32 / 10.0;
            [label, 1.0 - label * label]
        });
        Self {
            features: features.collect(),
            targets: targets.collect(),
            labels,
        }
    }

    fn examples(&self, architecture: &Architecture) -> Examples<'_> {
        let Self {
            features,
            labels,
            targets,
        } = self;
        match architecture.loss() {
            Loss::Regression => Examples::with_targets(architecture, features, targets),
            _ => Examples::new(architecture, features, labels),
        }
        .unwrap()
    }
}

fn training(duration: LocalDuration, batch_size: u32, optimizer: Optimizer) -> LocalTraining {
    LocalTraining {
        duration,
        batch_size,
        schedule: Schedule::Constant,
        clip_norm: None,
        optimizer,
    }
}

/// Trains fresh parameters and yields them as bits, so that equal means equal.
fn train(
    architecture: &Architecture,
    training: &LocalTraining,
    shard: &Shard,
    seed: u64,
    count: usize,
) -> (Vec<u32>, TrainReport) {
    let mut parameters = initial_parameters(architecture, 1);
    let rows = shard.labels.len();
    let report = Trainer::new(architecture, training, rows, threads(count))
        .unwrap()
        .train(
            &mut parameters,
            &shard.examples(architecture),
            seed,
            &mut |_| ControlFlow::Continue(()),
        )
        .unwrap();
    (parameters.into_iter().map(f32::to_bits).collect(), report)
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let relu = mlp(300, &[200, 130], Activation::Relu);
    let gelu = mlp(300, &[260], Activation::Gelu);
    let shard = Shard::new(330, 300);
    for (architecture, optimizer) in [(&relu, SGD), (&gelu, ADAMW)] {
        // 100 does not divide the 330 rows, 55 does.
        for batch_size in [100, 55] {
            let recipe = training(LocalDuration::Epochs(2), batch_size, optimizer);
            let alone = train(architecture, &recipe, &shard, 9, 1);
            for count in [2, 3, 4] {
                assert_eq!(train(architecture, &recipe, &shard, 9, count), alone);
            }
        }
    }
}

#[test]
fn a_used_trainer_gives_the_same_bits_as_a_fresh_one() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let (small, large) = (Shard::new(33, 30), Shard::new(70, 30));
    let recipe = training(LocalDuration::Epochs(2), 16, ADAMW);
    let mut trainer = Trainer::new(&architecture, &recipe, 70, threads(1)).unwrap();
    let mut on = |shard: &Shard| -> Vec<u32> {
        let mut parameters = initial_parameters(&architecture, 1);
        let examples = shard.examples(&architecture);
        let watch = &mut |_| ControlFlow::Continue(());
        trainer.train(&mut parameters, &examples, 9, watch).unwrap();
        parameters.into_iter().map(f32::to_bits).collect()
    };
    on(&large);
    assert_eq!(on(&small), train(&architecture, &recipe, &small, 9, 1).0);
}

#[test]
fn another_seed_sees_the_rows_in_another_order() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let shard = Shard::new(50, 30);
    let recipe = training(LocalDuration::Epochs(1), 16, SGD);
    let (first, _) = train(&architecture, &recipe, &shard, 1, 1);
    assert_eq!(first, train(&architecture, &recipe, &shard, 1, 1).0);
    assert_ne!(first, train(&architecture, &recipe, &shard, 2, 1).0);
}

#[test]
fn measuring_gives_the_same_bits_for_any_number_of_threads() {
    let architecture = mlp(300, &[200], Activation::Gelu);
    let parameters = initial_parameters(&architecture, 1);
    let shard = Shard::new(600, 300);
    let measure = |count| {
        let examples = shard.examples(&architecture);
        let evaluation = evaluate(&architecture, &parameters, &examples, threads(count)).unwrap();
        let probabilities =
            predict(&architecture, &parameters, &shard.features, threads(count)).unwrap();
        (evaluation, probabilities)
    };
    let alone = measure(1);
    for count in [2, 3, 4] {
        assert_eq!(measure(count), alone);
    }
}

#[test]
fn a_separable_problem_is_learnt_by_every_rule() {
    let shard = Shard::new(500, 40);
    for (optimizer, activation) in [(SGD, Activation::Relu), (ADAMW, Activation::Gelu)] {
        let architecture = mlp(40, &[32], activation);
        let recipe = training(LocalDuration::Epochs(30), 25, optimizer);
        let (bits, report) = train(&architecture, &recipe, &shard, 3, 1);
        let parameters: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let examples = shard.examples(&architecture);
        let evaluation = evaluate(&architecture, &parameters, &examples, threads(1)).unwrap();
        assert!(evaluation.accuracy > 0.99, "{evaluation:?}");
        assert_eq!(evaluation.num_examples, 500);
        assert_eq!((report.num_examples, report.num_steps), (500, 600));
        assert!(report.last_epoch_loss < 0.1, "{report:?}");
    }
}

#[test]
fn steps_count_the_rows_they_saw_and_at_most_the_shard() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let shard = Shard::new(50, 30);
    let seen = |steps| {
        let recipe = training(LocalDuration::Steps(steps), 16, SGD);
        train(&architecture, &recipe, &shard, 1, 1).1.num_examples
    };
    assert_eq!([seen(1), seen(3), seen(4), seen(9)], [16, 48, 50, 50]);
}

#[test]
fn progress_tells_every_step_and_its_loss() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let shard = Shard::new(50, 30);
    let recipe = training(LocalDuration::Epochs(2), 16, SGD);
    let mut trainer = Trainer::new(&architecture, &recipe, 50, threads(1)).unwrap();
    let mut parameters = initial_parameters(&architecture, 1);
    let mut told = vec![];
    let report = trainer
        .train(
            &mut parameters,
            &shard.examples(&architecture),
            1,
            &mut |progress: Progress| {
                told.push(progress);
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    let steps: Vec<_> = told.iter().map(|p| (p.step, p.steps_total)).collect();
    assert_eq!(steps, Vec::from_iter((1..=8).map(|step| (step, 8))));
    assert_eq!(told[7].loss.to_bits(), report.final_loss.to_bits());
    let weighted = [16.0, 16.0, 16.0, 2.0].iter().zip(&told[4..]);
    let mean = weighted.map(|(rows, p)| rows * p.loss).sum::<f64>() / 50.0;
    assert!((mean - report.last_epoch_loss).abs() < 1e-12);
    let rows: Vec<_> = told.iter().map(|p| p.rows).collect();
    assert_eq!(rows, [16, 16, 16, 2, 16, 16, 16, 2]);
    let right: f64 = told[4..].iter().map(|p| p.rows as f64 * p.accuracy).sum();
    assert!((right / 50.0 - report.last_epoch_accuracy).abs() < 1e-12);
}

#[test]
fn a_training_that_stands_still_is_as_accurate_as_its_parameters() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let shard = Shard::new(330, 30);
    let still = Optimizer::Sgd {
        learning_rate: 0.0,
        momentum: 0.0,
        weight_decay: 0.0,
    };
    for count in [1, 3] {
        let recipe = training(LocalDuration::Epochs(2), 64, still);
        let (bits, report) = train(&architecture, &recipe, &shard, 3, count);
        let parameters: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let examples = shard.examples(&architecture);
        let measured = evaluate(&architecture, &parameters, &examples, threads(1)).unwrap();
        assert!(measured.accuracy > 0.0 && measured.accuracy < 1.0);
        let told = report.last_epoch_accuracy;
        assert_eq!(told.to_bits(), measured.accuracy.to_bits());
    }
}

#[test]
fn only_complete_passes_are_epochs() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let shard = Shard::new(50, 30);
    let epochs = |duration| {
        let recipe = training(duration, 16, SGD);
        train(&architecture, &recipe, &shard, 1, 1).1.num_epochs
    };
    assert_eq!(
        [3, 4, 9].map(|n| epochs(LocalDuration::Steps(n))),
        [0, 1, 2]
    );
    assert_eq!(epochs(LocalDuration::Epochs(3)), 3);
}

/// A small convolutional model of rows of 300 numbers.
fn cnn() -> Architecture {
    let spec = ModelSpec::Cnn {
        channels: vec![16, 32],
        kernel: 3,
        hidden: vec![64],
        image: Some([3, 10, 10]),
    };
    spec.architecture(300, 10).unwrap()
}

/// Layers that no named model has, for rows of 300 numbers: strides, a pool of averages, two numbers
/// to be met.
fn strided_regression() -> Architecture {
    let image = Layer::Image {
        channels: 3,
        height: 10,
        width: 10,
    };
    let convolution = Layer::Convolution {
        inputs: 3,
        outputs: 16,
        kernel: 3,
        stride: 2,
        padding: 1,
    };
    let average = Layer::AveragePool {
        kernel: 2,
        stride: 1,
    };
    let linear = Layer::Linear {
        inputs: 256,
        outputs: 2,
    };
    let layers = vec![
        image,
        convolution,
        Layer::Gelu,
        average,
        Layer::Flatten,
        linear,
        Layer::Regression,
    ];
    Architecture::new(layers).unwrap()
}

/// A small language model of rows of 24 tokens.
fn gpt() -> Architecture {
    let spec = ModelSpec::Gpt {
        blocks: 2,
        width: 48,
        heads: 3,
    };
    spec.architecture(24, 10).unwrap()
}

impl Shard {
    /// Sequences that count up by one, or by two in every other row.
    fn of_tokens(rows: usize) -> Self {
        let token = |row: usize, place: usize| (row + place * (1 + row % 2)) % 10;
        let features = (0..rows * 24).map(|i| token(i / 24, i % 24) as f32);
        Self {
            features: features.collect(),
            labels: (0..rows)
                .map(|row| u32::try_from(token(row, 24)).unwrap())
                .collect(),
            targets: Vec::new(),
        }
    }
}

#[test]
fn any_number_of_threads_gives_other_layers_the_same_bits() {
    let (images, sequences) = (Shard::new(90, 300), Shard::of_tokens(75));
    let models = [
        (cnn(), &images),
        (strided_regression(), &images),
        (gpt(), &sequences),
    ];
    for (architecture, shard) in models {
        for optimizer in [SGD, ADAMW] {
            for clip_norm in [None, Some(0.5)] {
                // The last batch of a pass is smaller.
                let recipe = LocalTraining {
                    schedule: Schedule::Cosine {
                        warmup_steps: 2,
                        floor: 0.1,
                    },
                    clip_norm,
                    ..training(LocalDuration::Epochs(1), 35, optimizer)
                };
                let alone = train(&architecture, &recipe, shard, 9, 1);
                for count in [2, 3, 4] {
                    assert_eq!(train(&architecture, &recipe, shard, 9, count), alone);
                }
            }
        }
        let parameters = initial_parameters(&architecture, 1);
        let measure = |count| {
            let examples = shard.examples(&architecture);
            evaluate(&architecture, &parameters, &examples, threads(count)).unwrap()
        };
        for count in [2, 3, 4] {
            assert_eq!(measure(count), measure(1));
        }
    }
}

#[test]
fn clipping_gives_the_same_bits_for_any_number_of_threads() {
    let architecture = mlp(300, &[200, 130], Activation::Relu);
    let shard = Shard::new(110, 300);
    let recipe = LocalTraining {
        clip_norm: Some(0.1),
        ..training(LocalDuration::Epochs(2), 55, SGD)
    };
    let alone = train(&architecture, &recipe, &shard, 9, 1);
    for count in [2, 3, 4] {
        assert_eq!(train(&architecture, &recipe, &shard, 9, count), alone);
    }
}

#[test]
fn a_cnn_and_a_gpt_learn() {
    let (images, sequences) = (Shard::new(200, 300), Shard::of_tokens(120));
    for (architecture, shard, least) in [(cnn(), &images, 0.99), (gpt(), &sequences, 0.9)] {
        let recipe = training(LocalDuration::Epochs(12), 20, ADAMW);
        let (bits, report) = train(&architecture, &recipe, shard, 3, 1);
        let parameters: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let examples = shard.examples(&architecture);
        let evaluation = evaluate(&architecture, &parameters, &examples, threads(1)).unwrap();
        assert!(evaluation.accuracy > least, "{evaluation:?}");
        assert!(report.last_epoch_loss < 1.0, "{report:?}");
    }
}

#[test]
fn a_bound_that_is_never_reached_changes_nothing() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let shard = Shard::new(50, 30);
    let free = training(LocalDuration::Epochs(1), 16, SGD);
    let bounded = LocalTraining {
        clip_norm: Some(1e9),
        ..free
    };
    let trained = |recipe| train(&architecture, recipe, &shard, 1, 1).0;
    assert_eq!(trained(&free), trained(&bounded));
    let tight = LocalTraining {
        clip_norm: Some(1e-3),
        ..free
    };
    assert_ne!(trained(&free), trained(&tight));
}

#[test]
fn a_step_moves_parameters_by_the_scheduled_rate() {
    let architecture = mlp(30, &[], Activation::Relu);
    let shard = Shard::new(10, 30);
    let descent = |learning_rate| Optimizer::Sgd {
        learning_rate,
        momentum: 0.0,
        weight_decay: 0.0,
    };
    let scheduled = LocalTraining {
        schedule: Schedule::Warmup { steps: 4 },
        ..training(LocalDuration::Steps(1), 10, descent(0.5))
    };
    let plain = training(LocalDuration::Steps(1), 10, descent(0.125));
    assert_eq!(
        train(&architecture, &scheduled, &shard, 1, 1),
        train(&architecture, &plain, &shard, 1, 1)
    );
}
