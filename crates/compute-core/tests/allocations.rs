//! Steps and tokens after the first allocate nothing of ours.
//!
//! `gemm` allocates for itself: packing buffers and a list of flags in each product, and one slab
//! per thread at its first. Naming a stream of chance allocates once per pass. Every allocation is
//! therefore traced to its callers, and those two are told apart from the engine's own.
#![expect(unsafe_code, reason = "counting allocations takes a global allocator")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use compute_core::engine::{Examples, Generator, Progress, Sampling, Trainer, initial_parameters};
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, Layer, Loss, ModelSpec};
use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

struct Counting;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static OWN: Cell<u64> = const { Cell::new(0) };
    static OTHERS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // Disarmed while it looks, because a trace allocates too.
    if ARMED.replace(false) {
        let trace = Backtrace::force_capture().to_string();
        let excused = trace.contains("gemm_common::") || trace.contains("federation::seed::");
        let counter = if excused { &OTHERS } else { &OWN };
        counter.set(counter.get() + 1);
        ARMED.set(true);
    }
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; the memory came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// A training: its model and its rule.
struct Case {
    architecture: Architecture,
    optimizer: Optimizer,
    clip_norm: Option<f32>,
}

/// Allocations (of the engine, of others) from the end of step 1 to the end of the training.
fn allocations_after_the_first_step(case: &Case) -> (u64, u64) {
    let architecture = &case.architecture;
    let inputs = architecture.inputs();
    let training = LocalTraining {
        duration: LocalDuration::Epochs(2),
        batch_size: 48,
        schedule: Schedule::Constant,
        clip_norm: case.clip_norm,
        optimizer: case.optimizer,
    };
    let rows = 220; // the last of the five batches of a pass is smaller
    let feature = |i: usize| match architecture.loss() {
        Loss::NextToken => (i % 10) as f32,
        _ => (i % 17) as f32 / 17.0,
    };
    let features: Vec<f32> = (0..rows * inputs).map(feature).collect();
    let labels: Vec<u32> = (0..10).cycle().take(rows).collect();
    let examples = match architecture.loss() {
        Loss::Regression => Examples::with_targets(architecture, &features, &features[..rows]),
        _ => Examples::new(architecture, &features, &labels),
    };
    let examples = examples.unwrap();
    let mut parameters = initial_parameters(architecture, 3);
    let mut trainer = Trainer::new(architecture, &training, rows, NonZeroUsize::MIN).unwrap();

    OWN.set(0);
    OTHERS.set(0);
    let report = trainer.train(&mut parameters, &examples, 5, &mut |progress: Progress| {
        ARMED.set(progress.step < progress.steps_total);
        ControlFlow::Continue(())
    });
    assert_eq!(report.unwrap().num_steps, 10);
    (OWN.get(), OTHERS.get())
}

/// Layers that no named model has, for rows of 64 numbers.
fn strided_regression() -> Architecture {
    let image = Layer::Image {
        channels: 1,
        height: 8,
        width: 8,
    };
    let convolution = Layer::Convolution {
        inputs: 1,
        outputs: 4,
        kernel: 3,
        stride: 2,
        padding: 1,
    };
    let average = Layer::AveragePool {
        kernel: 2,
        stride: 2,
    };
    let linear = Layer::Linear {
        inputs: 16,
        outputs: 1,
    };
    let layers = vec![
        image,
        convolution,
        Layer::Relu,
        average,
        Layer::Flatten,
        linear,
        Layer::Regression,
    ];
    Architecture::new(layers).unwrap()
}

#[test]
fn a_step_after_the_first_allocates_nothing_of_ours() {
    let sgd = Optimizer::Sgd {
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 0.0,
    };
    let adamw = Optimizer::AdamW {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
    };
    let mlp = |activation| ModelSpec::Mlp {
        hidden: vec![96, 64],
        activation,
    };
    let cnn = ModelSpec::Cnn {
        channels: vec![8, 16],
        kernel: 3,
        hidden: vec![32],
        image: None,
    };
    let gpt = ModelSpec::Gpt {
        blocks: 1,
        width: 32,
        heads: 2,
    };
    let named = |model: ModelSpec, inputs| model.architecture(inputs, 10).unwrap();
    let cases = [
        (named(mlp(Activation::Relu), 80), sgd, None),
        (named(mlp(Activation::Gelu), 80), adamw, Some(1.0)),
        (named(cnn, 64), sgd, None),
        (strided_regression(), adamw, Some(1.0)),
        (named(gpt, 12), adamw, Some(1.0)),
    ];
    for (architecture, optimizer, clip_norm) in cases {
        let case = Case {
            architecture,
            optimizer,
            clip_norm,
        };
        let (own, others) = allocations_after_the_first_step(&case);
        assert_eq!(own, 0, "{:?}", case.architecture);
        // Proof that the counter counts at all.
        assert!(others > 0);
    }
}

#[test]
fn a_token_after_the_first_allocates_nothing_of_ours() {
    let gpt = ModelSpec::Gpt {
        blocks: 1,
        width: 32,
        heads: 2,
    };
    let architecture = gpt.architecture(12, 10).unwrap();
    let parameters = initial_parameters(&architecture, 3);
    let sampling = Sampling {
        temperature: 1.0,
        seed: 1,
    };
    let mut generator = Generator::new(&architecture, &parameters, &[1, 2], sampling).unwrap();
    generator.draw().unwrap();
    OWN.set(0);
    OTHERS.set(0);
    ARMED.set(true);
    // The window fills and then slides.
    let drawn = (0..20).all(|_| generator.draw().is_ok());
    ARMED.set(false);
    assert!(drawn);
    assert_eq!(OWN.get(), 0);
    assert!(OTHERS.get() > 0);
}

#[test]
fn an_allocation_outside_the_products_is_counted() {
    OWN.set(0);
    ARMED.set(true);
    let memory = std::hint::black_box(Box::new([1_u8; 100]));
    ARMED.set(false);
    drop(memory);
    assert_eq!(OWN.get(), 1);
}
