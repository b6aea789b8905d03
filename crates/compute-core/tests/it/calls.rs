//! What is computed, and what is said when it cannot be.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use compute_core::engine::{
    Examples, Generator, Kernels, Sampling, Trainer, evaluate, initial_parameters,
};
use federation::local::{LocalTraining, Optimizer};
use federation::model::Layer;
use federation::{Digest, KernelClass};
use futures::{StreamExt, TryStreamExt};
use proto::body;
use proto::engine::{EngineError, GENERATED_MAX, TrainWord};
use proto::fault;
use proto::v1::{Dtype, GenerateRequest};
use tonic::Code;

use crate::core::{
    MIB, examples, gpt, inputs, labelled, mlp, parameters, prompt, rows, serve, sgd, tensor,
};

fn reason(error: &EngineError) -> Option<String> {
    match error {
        EngineError::Call(status) => fault::reason(status),
        _ => None,
    }
}

#[tokio::test]
async fn it_says_what_it_can_do() {
    let core = serve(3 * MIB, 1);
    let described = core.engine.describe().await.unwrap();
    assert_eq!((described.threads, described.cache_bytes), (1, 3 << 20));
    assert_eq!(described.layers, Layer::NAMES);
    assert_eq!(described.kernels, described.kernel_classes[0]);
    assert_eq!(described.kernel_classes.last().unwrap(), "portable");
}

#[tokio::test]
async fn it_says_what_a_training_would_take() {
    let core = serve(MIB, 1);
    let model = mlp(600, 40);
    let plan = async |local: &LocalTraining, rows| {
        let plan = core.engine.plan(&model, local, rows).await.unwrap();
        assert_eq!(plan.parameters_bytes, 4 * model.num_parameters() as u64);
        let described = core.engine.describe().await.unwrap();
        assert_eq!(plan.memory_bytes, described.memory_bytes);
        plan.training_bytes
    };
    let few = LocalTraining {
        batch_size: 4,
        ..sgd(1, 0.1)
    };
    let many = sgd(1, 0.1);
    let vectors = 3 * 4 * model.num_parameters() as u64;
    let one_row = plan(&few, 1).await - vectors;
    assert!(one_row >= 4 * 600, "a row of 600 numbers takes {one_row}");
    assert_eq!(plan(&few, 1000).await, vectors + 4 * one_row);
    assert_eq!(plan(&many, 1000).await, vectors + 16 * one_row);
    assert_eq!(plan(&many, 5).await, vectors + 5 * one_row, "of five rows");
    let adam = LocalTraining {
        optimizer: Optimizer::AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        },
        ..few
    };
    assert_eq!(plan(&adam, 1).await, vectors / 3 * 5 + one_row);

    let refused = core.engine.plan(&model, &few, 0).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some(fault::INVALID_MESSAGE));
    assert!(refused.to_string().contains("rows"), "{refused}");
}

#[tokio::test]
async fn it_computes_with_the_kernels_that_are_asked_for() {
    let core = serve(MIB, 1);
    let (model, local) = (mlp(600, 40), sgd(4, 0.1));
    let (base, shard) = (parameters(&model, 7), rows(60, 600, 0.2));
    let held = examples(&shard);
    let mut deltas = Vec::new();
    for kernels in [None].into_iter().chain(Kernels::available().map(Some)) {
        let class = kernels.map(Kernels::class);
        let engine = core.engine.with_kernels(class);
        let mut on_word = |_| {};
        let trained = engine.train(&model, inputs(&base, &held), &local, 9, &mut on_word);
        let (result, delta) = trained.await.unwrap();
        let own = class.unwrap_or(Kernels::native().class());
        assert_eq!(result.kernel_class, own.as_str());
        deltas.push(*delta.digest());
        let measured = engine.evaluate(&model, inputs(&base, &held)).await;
        let expected = kernels.unwrap_or(Kernels::native()).run(|| {
            let examples = Examples::new(&model, &shard.features, &shard.labels).unwrap();
            let before = initial_parameters(&model, 7);
            evaluate(&model, &before, &examples, NonZeroUsize::MIN).unwrap()
        });
        assert_eq!(measured.unwrap().loss.to_bits(), expected.loss.to_bits());
    }
    let native = deltas.remove(0);
    assert_eq!(deltas.remove(0), native);
    assert!(!deltas.contains(&native), "the classes compute the same");
}

#[tokio::test]
async fn kernels_that_the_processor_cannot_run_are_refused_with_those_it_can() {
    let core = serve(MIB, 1);
    let (model, local) = (mlp(6, 4), sgd(4, 0.1));
    let (base, held) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    let class = match cfg!(target_arch = "aarch64") {
        true => KernelClass::X86_64V3,
        false => KernelClass::Aarch64,
    };
    let engine = core.engine.with_kernels(Some(class));
    let mut on_word = |_| {};
    let trained = engine.train(&model, inputs(&base, &held), &local, 9, &mut on_word);
    let refused = trained.await.unwrap_err();
    assert_eq!(
        reason(&refused).as_deref(),
        Some(fault::KERNELS_UNAVAILABLE)
    );
    let told = format!(
        "compute-core: this processor cannot run kernels of class {class}; it has {}",
        core.engine
            .describe()
            .await
            .unwrap()
            .kernel_classes
            .join(", ")
    );
    assert_eq!(refused.to_string(), told);
    let evaluated = engine.evaluate(&model, inputs(&base, &held)).await;
    assert_eq!(reason(&evaluated.unwrap_err()), reason(&refused));
}

#[tokio::test]
async fn the_seed_decides_the_initial_parameters() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let (header, first) = core.engine.init(&model, 7).await.unwrap();
    let (_, again) = core.engine.init(&model, 7).await.unwrap();
    let (_, other) = core.engine.init(&model, 8).await.unwrap();
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(first, body::into_bytes(initial_parameters(&model, 7)));
    assert_eq!(header, body::parameters_header(&model, &first));
}

#[tokio::test]
async fn training_over_the_wire_gives_the_bits_of_the_engine() {
    let core = serve(MIB, 1);
    let (model, local) = (mlp(6, 4), sgd(40, 0.1));
    let (base, shard) = (parameters(&model, 7), rows(30, 6, 0.2));
    let held = examples(&shard);
    let mut progress = Vec::new();
    let mut on_word = |word| {
        if let TrainWord::Progress(told) = word {
            progress.push(told);
        }
    };
    let trained = core
        .engine
        .train(&model, inputs(&base, &held), &local, 9, &mut on_word);
    let (result, delta) = trained.await.unwrap();
    let digest = *delta.digest();
    let delta = delta.into_bytes();
    assert_eq!(digest, Digest::of(&delta));

    let before = initial_parameters(&model, 7);
    let mut after = before.clone();
    let report = Trainer::new(&model, &local, 30, NonZeroUsize::MIN)
        .unwrap()
        .train(
            &mut after,
            &Examples::new(&model, &shard.features, &shard.labels).unwrap(),
            9,
            &mut |_| ControlFlow::Continue(()),
        )
        .unwrap();
    let expected: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    assert_eq!(delta, body::into_bytes(expected));
    assert_eq!(result.num_examples, report.num_examples);
    assert_eq!(result.num_steps, 40);
    assert_eq!(result.mean_loss.to_bits(), report.last_epoch_loss.to_bits());
    assert_eq!(
        result.accuracy.map(f64::to_bits),
        Some(report.last_epoch_accuracy.to_bits())
    );
    assert_eq!(u64::from(result.num_epochs), report.num_epochs);
    assert!(!progress.is_empty(), "forty steps are worth a word");
    let times: Vec<f64> = progress.iter().map(|told| told.seconds).collect();
    assert!(times[0] > 0.0 && times.is_sorted() && times[times.len() - 1] <= result.seconds);
    assert!(progress.iter().any(|told| told.accuracy > Some(0.0)));
}

#[tokio::test]
async fn evaluation_over_the_wire_gives_the_bits_of_the_engine() {
    let core = serve(MIB, 1);
    let (model, shard) = (mlp(6, 4), rows(31, 6, 0.2));
    let (base, held) = (parameters(&model, 7), examples(&shard));
    let answer = core.engine.evaluate(&model, inputs(&base, &held));
    let answer = answer.await.unwrap();
    let rows = Examples::new(&model, &shard.features, &shard.labels).unwrap();
    let expected = evaluate(
        &model,
        &initial_parameters(&model, 7),
        &rows,
        NonZeroUsize::MIN,
    )
    .unwrap();
    assert_eq!(answer.num_examples, 31);
    assert_eq!(answer.loss.to_bits(), expected.loss.to_bits());
    assert_eq!(
        answer.accuracy.map(f64::to_bits),
        Some(expected.accuracy.to_bits())
    );
}

#[tokio::test]
async fn generation_over_the_wire_gives_the_tokens_of_the_engine() {
    let core = serve(MIB, 1);
    let model = gpt();
    let base = parameters(&model, 7);
    for length in [1, 30] {
        let request = prompt(&[4, 0, 2], length);
        let input = base.input();
        let generated = core.engine.generate(&model, &input, request);
        let replies: Vec<_> = generated.await.unwrap().try_collect().await.unwrap();
        let sampling = Sampling {
            temperature: 1.0,
            seed: 3,
        };
        let numbers = initial_parameters(&model, 7);
        let mut generator = Generator::new(&model, &numbers, &[4, 0, 2], sampling).unwrap();
        let expected: Vec<_> = (0..length).map(|_| generator.draw().unwrap()).collect();
        assert_eq!(replies.concat(), expected);
    }
    assert_eq!(base.loads(), 1);
}

#[tokio::test]
async fn a_generation_that_cannot_be_says_why_and_leaves_its_turn() {
    let core = serve(MIB, 1);
    let model = gpt();
    let base = parameters(&model, 7);
    let refused = async |request: GenerateRequest| {
        let input = base.input();
        let generated = core.engine.generate(&model, &input, request);
        match generated.await {
            Ok(replies) => replies.try_collect::<Vec<_>>().await.unwrap_err(),
            Err(error) => error,
        }
    };
    let cold = GenerateRequest {
        temperature: -1.0,
        ..prompt(&[1], 5)
    };
    for (request, told) in [
        (prompt(&[], 5), "SHAPE_MISMATCH"),
        (prompt(&[5], 5), "SHAPE_MISMATCH"),
        (prompt(&[1], 0), "INVALID_MESSAGE"),
        (prompt(&[1], GENERATED_MAX + 1), "INVALID_MESSAGE"),
        (cold, "INVALID_MESSAGE"),
    ] {
        let error = refused(request).await;
        assert_eq!(reason(&error).as_deref(), Some(told), "{error}");
        assert!(!error.is_transient());
    }
    let input = base.input();
    let said = core.engine.generate(&model, &input, prompt(&[1], 5));
    let mut said = said.await.unwrap();
    assert!(said.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_training_that_diverges_says_so_and_is_not_worth_another_try() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let (base, held) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    let (local, mut on_word) = (sgd(200, 1e30), |_| {});
    let inputs = inputs(&base, &held);
    let trained = core.engine.train(&model, inputs, &local, 9, &mut on_word);
    let error = trained.await.unwrap_err();
    assert_eq!(reason(&error).as_deref(), Some("DIVERGED"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn tensors_that_do_not_fit_the_model_are_named() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let good = examples(&rows(3, 6, 0.0));
    let own = parameters(&model, 7);
    let features = [0.0; 18];
    let shapes = |labels: usize, rows: usize, columns: usize| {
        vec![
            tensor("labels", Dtype::I64, &[labels]),
            tensor("features", Dtype::F32, &[rows, columns]),
        ]
    };
    let cases = [
        (
            parameters(&mlp(6, 5), 7),
            good.clone(),
            "are not those of the model",
        ),
        (own.clone(), examples(&rows(3, 5, 0.0)), "tensor features"),
        (
            own.clone(),
            labelled(shapes(2, 3, 6), &[0; 2], &features),
            "tensor labels",
        ),
        (
            own.clone(),
            labelled(shapes(3, 3, 6), &[0, 1, -1], &features),
            "below 0",
        ),
        (
            own.clone(),
            labelled(shapes(3, 3, 6), &[0, 1, 3], &features),
            "3",
        ),
        (
            own.clone(),
            labelled(vec![tensor("x", Dtype::F32, &[3, 6])], &[], &features),
            "no tensor features",
        ),
    ];
    for (base, rows, named) in cases {
        let asked = core.engine.evaluate(&model, inputs(&base, &rows));
        let error = asked.await.unwrap_err();
        assert_eq!(reason(&error).as_deref(), Some("SHAPE_MISMATCH"), "{error}");
        assert!(
            error.to_string().contains(named),
            "{named:?} is not in: {error}"
        );
        let EngineError::Call(status) = error else {
            panic!("{error}");
        };
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
