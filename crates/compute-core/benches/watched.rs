//! What it costs a training to be looked at: steps with telemetry's onlooker, in a trace that is
//! kept and in one that is not, beside the same steps without it.
//!
//! Prints one JSON line per model: the median ratio of speeds where the trace is not kept, and the
//! median of what a whole training takes longer where it is, for it has as many spans whatever its
//! length. Turns are short and taken one after the other, so that a machine shared with others
//! favours none.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use compute_core::engine::{Examples, Progress, Trainer, Watch, initial_parameters};
use compute_core::steps::StepSpans;
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, ModelSpec};
use telemetry::export::Outbox;
use telemetry::metrics::IntCounter;
use telemetry::trace::{Sampler, Tracer};

/// Turns of each side.
const TURNS: usize = 1001;

/// Rows of the shard, of 64 numbers each.
const ROWS: usize = 512;

const BATCH_SIZE: u32 = 32;

fn main() {
    let mlp = |hidden: &[usize]| ModelSpec::Mlp {
        hidden: hidden.to_vec(),
        activation: Activation::Relu,
    };
    for (name, spec, steps) in [
        ("softmax 64-10", ModelSpec::SoftmaxRegression, 800),
        ("mlp 64-64-10", mlp(&[64]), 300),
        ("mlp 64-512-256-10", mlp(&[512, 256]), 16),
    ] {
        let architecture = spec.architecture(64, 10).expect("the widths are positive");
        run(name, &architecture, steps);
    }
}

fn run(name: &str, architecture: &Architecture, steps: u32) {
    let mut bench = Bench::new(architecture, steps);
    let dropped = IntCounter::new("dropped_total", "Dropped.").expect("a counter");
    let outbox = Arc::new(Outbox::new(1000, 1000, dropped));
    let tracer = Tracer::new("bench", Sampler::all(), Some(Arc::clone(&outbox)));

    let (mut without, mut not_kept, mut kept) = (vec![], vec![], vec![]);
    for turn in 0..TURNS {
        let mut sides = [0.0; 3];
        for side in 0..3 {
            let side = (side + turn) % 3;
            sides[side] = match side {
                0 => bench.seconds(&mut |_: Progress| ControlFlow::Continue(())),
                1 => bench.seconds(&mut StepSpans::new("client-0001")),
                _ => tracer
                    .serve("Train", None)
                    .run(|| bench.seconds(&mut StepSpans::new("client-0001"))),
            };
        }
        drop(outbox.take());
        without.push(sides[0]);
        not_kept.push(sides[0] / sides[1]);
        kept.push(sides[2] - sides[0]);
    }
    println!(
        "{{\"model\":\"{name}\",\"steps\":{steps},\"step_microseconds\":{:.2},\
         \"not_kept\":{:.4},\"kept_microseconds\":{:.1}}}",
        median(without) / f64::from(steps) * 1e6,
        median(not_kept),
        median(kept) * 1e6,
    );
}

struct Bench {
    trainer: Trainer,
    architecture: Architecture,
    parameters: Vec<f32>,
    features: Vec<f32>,
    labels: Vec<u32>,
}

impl Bench {
    fn new(architecture: &Architecture, steps: u32) -> Self {
        let training = LocalTraining {
            duration: LocalDuration::Steps(steps),
            batch_size: BATCH_SIZE,
            schedule: Schedule::Constant,
            clip_norm: None,
            optimizer: Optimizer::Sgd {
                learning_rate: 0.01,
                momentum: 0.0,
                weight_decay: 0.0,
            },
        };
        let trainer = Trainer::new(architecture, &training, ROWS, NonZeroUsize::MIN);
        Self {
            trainer: trainer.expect("the plan holds"),
            architecture: architecture.clone(),
            parameters: initial_parameters(architecture, 1),
            features: (0..ROWS * 64)
                .map(|i| ((i * 7919) % 1000) as f32 / 1000.0)
                .collect(),
            labels: (0_u32..10).cycle().take(ROWS).collect(),
        }
    }

    fn seconds(&mut self, watch: &mut impl Watch) -> f64 {
        let examples = Examples::new(&self.architecture, &self.features, &self.labels)
            .expect("rows fit the model");
        let start = Instant::now();
        self.trainer
            .train(&mut self.parameters, &examples, 1, watch)
            .expect("the training converges");
        start.elapsed().as_secs_f64()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
