//! Samples per second of training steps with one and two threads, and their share of the limit.
//!
//! Prints one JSON line per configuration. One and two threads take turns, pair by pair, and the
//! medians are compared, so that a machine shared with others favours neither.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use compute_core::engine::{Examples, Progress, Trainer, initial_parameters};
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, Layer, ModelSpec};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Instant;

/// Turns of each configuration; each gives one figure for one thread and one for two.
const PAIRS: usize = 15;

/// Arithmetic of one turn: about 0.15 s at one thread.
const TURN_FLOPS: f64 = 1.5e10;

struct Case {
    name: &'static str,
    hidden: &'static [usize],
    inputs: usize,
    activation: Activation,
    batch_size: u32,
    optimizer: Optimizer,
}

const SGD: Optimizer = Optimizer::Sgd {
    learning_rate: 0.01,
    momentum: 0.0,
    weight_decay: 0.0,
};

const ADAMW: Optimizer = Optimizer::AdamW {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 0.01,
};

fn main() {
    let wide = |name, activation, batch_size, optimizer| Case {
        name,
        hidden: &[512, 256],
        inputs: 784,
        activation,
        batch_size,
        optimizer,
    };
    let small = Case {
        name: "mlp 64-64-10",
        hidden: &[64],
        inputs: 64,
        activation: Activation::Relu,
        batch_size: 32,
        optimizer: SGD,
    };
    let cases = [
        wide("mlp 784-512-256-10", Activation::Relu, 256, SGD),
        wide("mlp 784-512-256-10", Activation::Relu, 64, SGD),
        wide("mlp 784-512-256-10 adamw", Activation::Relu, 256, ADAMW),
        wide("mlp 784-512-256-10 gelu", Activation::Gelu, 256, SGD),
        small,
    ];
    for case in &cases {
        run(case);
    }
}

fn run(case: &Case) {
    let spec = ModelSpec::Mlp {
        hidden: case.hidden.to_vec(),
        activation: case.activation,
    };
    let architecture = spec
        .architecture(case.inputs, 10)
        .expect("the widths are positive");
    let flops_per_row = flops_per_row(&architecture);
    let rows = 16 * case.batch_size as usize;
    let batches = TURN_FLOPS / (flops_per_row * f64::from(case.batch_size));
    let mut turns = [1, 2].map(|threads| Turn::new(case, &architecture, rows, batches, threads));

    let (mut one, mut two, mut ratio, mut limits) = (vec![], vec![], vec![], vec![]);
    for pair in 0..PAIRS {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut speeds = [0.0; 2];
        for turn in order {
            speeds[turn] = turns[turn].samples_per_second();
        }
        one.push(speeds[0]);
        two.push(speeds[1]);
        ratio.push(speeds[1] / speeds[0]);
        limits.push(square_product_flops_per_second());
    }
    let (one, limit) = (median(one), median(limits));
    println!(
        "{{\"model\":\"{}\",\"batch\":{},\"samples_per_second_1\":{one:.0},\
         \"samples_per_second_2\":{:.0},\"ratio_2_to_1\":{:.2},\"gflops_1\":{:.1},\
         \"gemm_gflops_1\":{:.1},\"share_of_gemm\":{:.2}}}",
        case.name,
        case.batch_size,
        median(two),
        median(ratio),
        one * flops_per_row / 1e9,
        limit / 1e9,
        one * flops_per_row / limit,
    );
}

struct Turn {
    trainer: Trainer,
    architecture: Architecture,
    parameters: Vec<f32>,
    features: Vec<f32>,
    labels: Vec<u32>,
}

impl Turn {
    fn new(
        case: &Case,
        architecture: &Architecture,
        rows: usize,
        batches: f64,
        threads: usize,
    ) -> Self {
        let epochs = (batches * f64::from(case.batch_size) / rows as f64).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive whole number"
        )]
        let training = LocalTraining {
            duration: LocalDuration::Epochs(epochs as u32),
            batch_size: case.batch_size,
            schedule: Schedule::Constant,
            clip_norm: None,
            optimizer: case.optimizer,
        };
        let threads = NonZeroUsize::new(threads).expect("threads are counted from 1");
        let mut turn = Self {
            trainer: Trainer::new(architecture, &training, rows, threads).expect("the plan holds"),
            architecture: architecture.clone(),
            parameters: initial_parameters(architecture, 1),
            features: (0..rows * case.inputs)
                .map(|i| ((i * 7919) % 1000) as f32 / 1000.0)
                .collect(),
            labels: (0_u32..10).cycle().take(rows).collect(),
        };
        turn.samples_per_second(); // warms caches and threads up
        turn
    }

    fn samples_per_second(&mut self) -> f64 {
        let examples = Examples::new(&self.architecture, &self.features, &self.labels)
            .expect("rows fit the model");
        let mut steps = 0;
        let start = Instant::now();
        self.trainer
            .train(
                &mut self.parameters,
                &examples,
                1,
                &mut |progress: Progress| {
                    steps = progress.steps_total;
                    ControlFlow::Continue(())
                },
            )
            .expect("the training converges");
        let rows_per_step = self.labels.len() / 16;
        steps as f64 * rows_per_step as f64 / start.elapsed().as_secs_f64()
    }
}

/// Two per weight in the forward product, and in each of the two products of the backward pass, of
/// which the first layer needs one.
fn flops_per_row(architecture: &Architecture) -> f64 {
    architecture
        .layers()
        .iter()
        .filter_map(|layer| match *layer {
            Layer::Linear { inputs, outputs } => Some((inputs * outputs) as f64),
            Layer::Relu | Layer::Gelu => None,
        })
        .enumerate()
        .map(|(index, weights)| if index == 0 { 4.0 } else { 6.0 } * weights)
        .sum()
}

/// What `gemm` reaches with one thread on its own, on matrices of 1024 × 1024.
#[expect(unsafe_code, reason = "gemm takes pointers")]
fn square_product_flops_per_second() -> f64 {
    const N: usize = 1024;
    let (left, right) = (vec![0.5_f32; N * N], vec![0.25_f32; N * N]);
    let mut out = vec![0.0_f32; N * N];
    let n = N.cast_signed();
    let start = Instant::now();
    for _ in 0..4 {
        // SAFETY: each buffer holds N rows of N numbers, as the strides say.
        unsafe {
            gemm::gemm(
                N,
                N,
                N,
                out.as_mut_ptr(),
                n,
                1,
                false,
                left.as_ptr(),
                n,
                1,
                right.as_ptr(),
                n,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
    std::hint::black_box(&out);
    4.0 * 2.0 * (N * N * N) as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
