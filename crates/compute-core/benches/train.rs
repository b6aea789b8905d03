//! Samples per second of training steps with one and two threads, and their share of the limit.
//!
//! `cargo bench -p compute-core --bench train -- [NAME [BATCH [PAIRS]]]` prints one JSON line for each
//! configuration, or for those with that name and that batch alone, after 15 pairs of turns or so
//! many. One and two threads take turns, pair by pair, and so does the
//! product that the share is of, so that a machine shared with others favours none. Of each figure
//! stand the median of the pairs, the lowest and the highest.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use compute_core::engine::{Examples, Progress, Trainer, initial_parameters};
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, Layer, ModelSpec, Shape};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Instant;

/// Turns of each configuration; each gives one figure for one thread and one for two.
const PAIRS: usize = 15;

/// With `--short`, which looks only whether it runs.
const PAIRS_SHORT: usize = 1;

/// Batches of a pass.
const BATCHES: usize = 16;

/// Arithmetic of one turn: about 0.15 s at one thread.
const TURN_FLOPS: f64 = 1.5e10;

struct Case {
    name: &'static str,
    model: ModelSpec,
    inputs: usize,
    outputs: usize,
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

/// All configurations.
fn cases() -> Vec<Case> {
    let mlp = |name, activation, batch_size, optimizer| Case {
        name,
        model: ModelSpec::Mlp {
            hidden: vec![512, 256],
            activation,
        },
        inputs: 784,
        outputs: 10,
        batch_size,
        optimizer,
    };
    let small = Case {
        name: "mlp 64-64-10",
        model: ModelSpec::Mlp {
            hidden: vec![64],
            activation: Activation::Relu,
        },
        inputs: 64,
        outputs: 10,
        batch_size: 32,
        optimizer: SGD,
    };
    let cnn = |batch_size| Case {
        name: "cnn 28x28 32-64-128-10",
        model: ModelSpec::Cnn {
            channels: ModelSpec::CNN_CHANNELS.to_vec(),
            kernel: ModelSpec::CNN_KERNEL,
            hidden: ModelSpec::CNN_HIDDEN.to_vec(),
            image: None,
        },
        inputs: 784,
        outputs: 10,
        batch_size,
        optimizer: SGD,
    };
    let gpt = Case {
        name: "gpt 4 x 128, context 64",
        model: ModelSpec::Gpt {
            blocks: ModelSpec::GPT_BLOCKS,
            width: ModelSpec::GPT_WIDTH,
            heads: ModelSpec::GPT_HEADS,
        },
        inputs: 64,
        outputs: 65,
        batch_size: 16,
        optimizer: ADAMW,
    };
    vec![
        mlp("mlp 784-512-256-10", Activation::Relu, 256, SGD),
        cnn(64),
        gpt,
        mlp("mlp 784-512-256-10", Activation::Relu, 64, SGD),
        cnn(256),
        mlp("mlp 784-512-256-10 adamw", Activation::Relu, 256, ADAMW),
        mlp("mlp 784-512-256-10 gelu", Activation::Gelu, 256, SGD),
        small,
    ]
}

fn main() {
    let is_short = std::env::args().any(|word| word == "--short");
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let name = words.next();
    let number = |word: String| word.parse().expect("BATCH and PAIRS are whole numbers");
    let batch: Option<u32> = words.next().map(number);
    let pairs = match words.next() {
        _ if is_short => PAIRS_SHORT,
        Some(pairs) => number(pairs) as usize,
        None => PAIRS,
    };
    for case in &cases() {
        let is_named = name.as_ref().is_none_or(|name| case.name == name);
        if is_named && batch.is_none_or(|batch| case.batch_size == batch) {
            run(case, pairs);
        }
    }
}

fn run(case: &Case, pairs: usize) {
    let architecture = case
        .model
        .architecture(case.inputs, case.outputs)
        .expect("the model fits its rows");
    let flops_per_row = flops_per_row(&architecture);
    let rows = BATCHES * case.batch_size as usize;
    let batches = TURN_FLOPS / (flops_per_row * f64::from(case.batch_size));
    let mut turns = [1, 2].map(|threads| Turn::new(case, &architecture, rows, batches, threads));

    let (mut one, mut two, mut ratio) = (vec![], vec![], vec![]);
    let (mut limits, mut shares) = (vec![], vec![]);
    for pair in 0..pairs {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut speeds = [0.0; 2];
        for turn in order {
            speeds[turn] = turns[turn].samples_per_second();
        }
        let limit = product_flops_per_second();
        one.push(speeds[0]);
        two.push(speeds[1]);
        ratio.push(speeds[1] / speeds[0]);
        limits.push(limit / 1e9);
        shares.push(speeds[0] * flops_per_row / limit);
    }
    println!(
        "{{\"model\":\"{}\",\"batch\":{},{},{},{},{},{},\"gflops_1\":{:.1}}}",
        case.name,
        case.batch_size,
        figure("samples_per_second_1", &mut one, 0),
        figure("samples_per_second_2", &mut two, 0),
        figure("ratio_2_to_1", &mut ratio, 2),
        figure("share_of_gemm", &mut shares, 3),
        figure("gemm_gflops_1", &mut limits, 1),
        median(&one) * flops_per_row / 1e9,
    );
}

/// The median of `values`, and beside it the lowest and the highest, as fields of a JSON object.
fn figure(name: &str, values: &mut [f64], digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (lowest, highest) = (values[0], values[values.len() - 1]);
    format!(
        "\"{name}\":{:.digits$},\"{name}_lowest\":{lowest:.digits$},\"{name}_highest\":{highest:.digits$}",
        median(values),
    )
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
                .map(|i| match case.model {
                    ModelSpec::Gpt { .. } => (i * 7919 % 1000 % case.outputs) as f32,
                    _ => ((i * 7919) % 1000) as f32 / 1000.0,
                })
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
        let rows_per_step = self.labels.len() / BATCHES;
        steps as f64 * rows_per_step as f64 / start.elapsed().as_secs_f64()
    }
}

/// Two per multiplication in the forward product, and in each of the two products of the backward
/// pass, of which the first layer needs one. Attention counts what its products do: block by block
/// of positions, up to the block's end.
fn flops_per_row(architecture: &Architecture) -> f64 {
    let mut tokens = 0;
    let mut is_first = true;
    let mut flops = 0.0;
    for (layer, shape) in architecture.layers().iter().zip(architecture.shapes()) {
        let (places, positions) = match shape {
            Shape::Features(_) => (1, 1),
            Shape::Image { height, width, .. } => (height * width, 1),
            Shape::Sequence { positions, .. } => (positions, positions),
        };
        let products = match *layer {
            Layer::Linear { inputs, outputs } => places * inputs * outputs,
            Layer::Convolution {
                inputs,
                outputs,
                kernel,
                ..
            } => places * kernel * kernel * inputs * outputs,
            Layer::Attention { width, .. } => {
                let blocks = (0..positions).step_by(ATTENTION_BLOCK);
                let seen = blocks.map(|start| {
                    let count = ATTENTION_BLOCK.min(positions - start);
                    count * (start + count)
                });
                2 * seen.sum::<usize>() * width
            }
            Layer::Embedding {
                vocabulary, width, ..
            } => {
                tokens = vocabulary * width;
                is_first = false;
                0
            }
            Layer::TiedHead => places * tokens,
            _ => 0,
        };
        if products > 0 {
            flops += if is_first { 4.0 } else { 6.0 } * products as f64;
            is_first = false;
        }
    }
    flops
}

/// Positions that attention takes together.
const ATTENTION_BLOCK: usize = 32;

/// What `gemm` reaches at best with one thread on its own, on square matrices of any of some sizes.
fn product_flops_per_second() -> f64 {
    let reached = SIDES.map(square_product_flops_per_second);
    reached.into_iter().fold(0.0, f64::max)
}

/// Sides of the matrices: in the second-level cache, at its edge, and beyond it.
const SIDES: [usize; 3] = [256, 512, 1024];

/// The fastest of some products of matrices with this side.
#[expect(unsafe_code, reason = "gemm takes pointers")]
fn square_product_flops_per_second(side: usize) -> f64 {
    let numbers = side * side;
    let (left, right) = (vec![0.5_f32; numbers], vec![0.25_f32; numbers]);
    let mut out = vec![0.0_f32; numbers];
    let n = side.cast_signed();
    let mut fastest = f64::INFINITY;
    for _ in 0..PRODUCTS {
        let start = Instant::now();
        // SAFETY: each buffer holds as many rows as columns, as the strides say.
        unsafe {
            gemm::gemm(
                side,
                side,
                side,
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
        std::hint::black_box(&out);
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    2.0 * (numbers * side) as f64 / fastest
}

/// Products of one look at the limit.
const PRODUCTS: usize = 8;

/// The middle one of values in order.
fn median(values: &[f64]) -> f64 {
    values[values.len() / 2]
}
