//! Trainings that are refused, that diverge or that are broken off, each by its name.

use compute_core::engine::{
    EvaluateError, Examples, PlanError, Progress, TrainError, Trainer, evaluate,
    initial_parameters, predict,
};
use federation::local::{LocalDuration, Optimizer};
use federation::model::{Activation, ModelSpec};
use std::ops::ControlFlow;

use super::{SGD, Shard, gpt, mlp, threads, training};

#[test]
fn breaking_off_cancels_after_that_step() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let shard = Shard::new(50, 30);
    let recipe = training(LocalDuration::Epochs(2), 16, SGD);
    let mut trainer = Trainer::new(&architecture, &recipe, 50, threads(1)).unwrap();
    let mut parameters = initial_parameters(&architecture, 1);
    let cancelled = trainer.train(
        &mut parameters,
        &shard.examples(&architecture),
        1,
        &mut |p: Progress| match p.step {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        },
    );
    assert_eq!(cancelled, Err(TrainError::Cancelled { step: 3 }));
}

/// What becomes of training `parameters` with plain descent at rate `learning_rate`.
fn outcome(shard: &Shard, parameters: &mut [f32], learning_rate: f32) -> Result<u64, TrainError> {
    let architecture = mlp(30, &[20], Activation::Relu);
    let optimizer = Optimizer::Sgd {
        learning_rate,
        momentum: 0.0,
        weight_decay: 0.0,
    };
    let recipe = training(LocalDuration::Steps(2), 50, optimizer);
    Trainer::new(&architecture, &recipe, 50, threads(1))
        .unwrap()
        .train(parameters, &shard.examples(&architecture), 1, &mut |_| {
            ControlFlow::Continue(())
        })
        .map(|report| report.num_steps)
}

#[test]
fn a_training_that_diverges_names_the_step() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let mut fresh = initial_parameters(&architecture, 1);
    let mut poisoned = Shard::new(50, 30);
    poisoned.features[77] = f32::NAN;
    assert_eq!(
        outcome(&poisoned, &mut fresh.clone(), 0.1),
        Err(TrainError::Diverged { step: 1 })
    );

    let shard = Shard::new(50, 30);
    assert_eq!(
        outcome(&shard, &mut fresh.clone(), f32::INFINITY),
        Err(TrainError::Diverged { step: 2 })
    );
    assert_eq!(outcome(&shard, &mut fresh, 0.1), Ok(2));
}

#[test]
fn a_first_step_that_diverges_leaves_the_parameters_alone() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let fresh = initial_parameters(&architecture, 1);
    let mut poisoned = Shard::new(50, 30);
    poisoned.features[77] = f32::INFINITY;
    let mut parameters = fresh.clone();
    assert!(outcome(&poisoned, &mut parameters, 0.1).is_err());
    assert_eq!(parameters, fresh);
}

#[test]
fn arguments_of_another_model_are_refused() {
    let shard = Shard::new(50, 30);
    let expected = mlp(30, &[20], Activation::Relu).num_parameters();
    assert_eq!(
        outcome(&shard, &mut [0.0; 4], 0.1),
        Err(TrainError::Parameters {
            expected,
            actual: 4
        })
    );

    let architecture = mlp(30, &[20], Activation::Relu);
    let mut parameters = initial_parameters(&architecture, 1);
    let other = Shard::new(50, 31);
    let recipe = training(LocalDuration::Epochs(1), 16, SGD);
    let mut train = |examples: Examples<'_>| {
        let mut trainer = Trainer::new(&architecture, &recipe, 40, threads(1)).unwrap();
        let watch = &mut |_| ControlFlow::Continue(());
        trainer
            .train(&mut parameters, &examples, 1, watch)
            .unwrap_err()
    };
    assert!(matches!(
        train(other.examples(&mlp(31, &[20], Activation::Relu))),
        TrainError::Examples {
            inputs: 30,
            example_inputs: 31,
            ..
        }
    ));
    assert_eq!(
        train(shard.examples(&architecture)),
        TrainError::TooManyRows {
            rows: 50,
            rows_max: 40
        }
    );
    let none = Shard::new(0, 30);
    assert_eq!(train(none.examples(&architecture)), TrainError::NoExamples);
}

#[test]
fn measuring_what_does_not_fit_is_refused() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let parameters = initial_parameters(&architecture, 1);
    let (none, other) = (Shard::new(0, 30), Shard::new(50, 31));
    let measure = |parameters: &[f32], examples: Examples<'_>| {
        evaluate(&architecture, parameters, &examples, threads(1)).unwrap_err()
    };
    assert_eq!(
        measure(&parameters, none.examples(&architecture)),
        EvaluateError::NoExamples
    );
    assert!(matches!(
        measure(&parameters[1..], none.examples(&architecture)),
        EvaluateError::Parameters { .. }
    ));
    assert_eq!(
        measure(
            &parameters,
            other.examples(&mlp(31, &[20], Activation::Relu))
        ),
        EvaluateError::Inputs {
            expected: 30,
            actual: 31
        }
    );
    assert_eq!(
        predict(&architecture, &parameters, &[0.0; 31], threads(1)),
        Err(EvaluateError::Ragged {
            features: 31,
            inputs: 30
        })
    );
}

#[test]
fn plans_without_work_are_refused() {
    let architecture = mlp(30, &[20], Activation::Relu);
    let plan = |duration, batch_size, rows_max| {
        let recipe = training(duration, batch_size, SGD);
        Trainer::new(&architecture, &recipe, rows_max, threads(1)).err()
    };
    let (one, none) = (LocalDuration::Epochs(1), LocalDuration::Steps(0));
    assert_eq!(plan(one, 0, 5), Some(PlanError::EmptyBatch));
    assert_eq!(plan(none, 4, 5), Some(PlanError::NoSteps));
    assert_eq!(plan(one, 4, 0), Some(PlanError::NoRows));
    assert_eq!(plan(one, 4, 5), None);
}

#[test]
fn tokens_that_a_model_does_not_know_are_named() {
    let architecture = gpt();
    let mut shard = Shard::of_tokens(3);
    let refusal = |shard: &Shard| {
        Examples::new(&architecture, &shard.features, &shard.labels)
            .unwrap_err()
            .to_string()
    };
    for (token, said) in [(10.0, "10"), (-1.0, "-1"), (0.5, "0.5"), (f32::NAN, "NaN")] {
        shard.features[24 + 7] = token;
        assert_eq!(
            refusal(&shard),
            format!("row 1 has {said} at position 7; the model knows the tokens from 0 to 9")
        );
    }
    let parameters = initial_parameters(&architecture, 1);
    assert!(matches!(
        predict(&architecture, &parameters, &shard.features, threads(1)),
        Err(EvaluateError::Token(_))
    ));
    let mut shard = Shard::of_tokens(3);
    shard.labels[2] = 10;
    assert_eq!(
        refusal(&shard),
        "row 2 has label 10, but the model has 10 classes"
    );
}

#[test]
fn a_plan_beyond_memory_is_refused_with_its_numbers() {
    let spec = ModelSpec::Cnn {
        channels: vec![64],
        kernel: 3,
        hidden: vec![],
        image: Some([3, 512, 512]),
    };
    let architecture = spec.architecture(3 * 512 * 512, 10).unwrap();
    let recipe = training(LocalDuration::Epochs(1), 60_000, SGD);
    let error = Trainer::new(&architecture, &recipe, 60_000, threads(1)).err();
    let said = error.unwrap().to_string();
    assert!(said.starts_with("a step on 60000 rows holds "), "{said}");
    assert!(said.ends_with("choose a smaller batch"), "{said}");
}
