//! Text that reads well and asks for something impossible.

use super::*;

/// What is said of [`DIGITS`] with one part of its text replaced.
fn refusal(part: &str, replacement: &str) -> String {
    let draft: JobDraft = serde_yaml_ng::from_str(&digits_with(part, replacement)).unwrap();
    JobSpec::try_from(draft).unwrap_err().to_string()
}

#[test]
fn names_keep_to_their_letters() {
    for name in ["My Job", "", "-x", "é", &"x".repeat(64)] {
        assert_eq!(
            refusal("name: digits", &format!("name: '{name}'")),
            format!(
                "name: is {name:?}; must be 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with \
                 a letter or digit"
            )
        );
    }
    assert!(refusal("publish_as: digits", "publish_as: A").starts_with("publish_as: is \"A\""));
    assert!(refusal("  name: digits", "  name: A").starts_with("dataset.name: is \"A\""));
    parse(&digits_with(
        "name: digits",
        &format!("name: {}", "x".repeat(63)),
    ));
}

#[test]
fn models_are_of_a_possible_size() {
    assert_eq!(
        refusal("hidden: [64]", "hidden: [8, 0]"),
        "model.hidden[1]: is 0; must be at least 1"
    );
    assert_eq!(
        refusal("hidden: [64]", "hidden: [65536, 65536]"),
        "model.hidden: the model has at least 4295294978 parameters, which take 17 GiB; at most \
         2147483648 are trained; make its layers narrower"
    );
    assert_eq!(
        refusal(
            "kind: mlp, hidden: [64], activation: relu",
            "kind: published, name: mnist, version: 0"
        ),
        "model.version: is 0; must be at least 1"
    );
}

#[test]
fn models_of_layers_are_refused_by_name_and_numbers() {
    let refusal = |model: &str| refusal("kind: mlp, hidden: [64], activation: relu", model);
    assert_eq!(
        refusal("kind: cnn, channels: [8, 0]"),
        "model.channels[1]: is 0; must be at least 1"
    );
    assert_eq!(
        refusal("kind: cnn, kernel: 4"),
        "model.kernel: is 4; must be odd"
    );
    assert_eq!(
        refusal("kind: cnn, image: [1, 2, 9]"),
        "model: layer 6 (max_pool) takes an image of at least 2 × 2 places, but gets an image of \
         64 × 1 × 4"
    );
    assert_eq!(
        refusal("kind: gpt, width: 10, heads: 4"),
        "model: layer 4 (attention) takes a number of heads that divides its width of 10, not 4"
    );
    assert_eq!(
        refusal("kind: gpt, blocks: 84"),
        "model: the model has 1011 layers; at most 1000 are accepted"
    );
    assert_eq!(
        refusal(
            "kind: layers, layers: [{ kind: linear, inputs: 4, outputs: 8 }, { kind: linear, \
             inputs: 9, outputs: 2 }]"
        ),
        "model.layers: layer 1 takes 9 inputs but the layers before it yield 8"
    );
}

#[test]
fn schedules_and_bounds_are_of_possible_values() {
    let with = |part: &str| {
        let text = DIGITS.replace("optimizer:", &format!("{part}\n  optimizer:"));
        let draft: JobDraft = serde_yaml_ng::from_str(&text).unwrap();
        JobSpec::try_from(draft).unwrap_err().to_string()
    };
    assert_eq!(
        with("clip_norm: 0"),
        "local.clip_norm: is 0.0; must be a finite number above 0"
    );
    assert_eq!(
        with("schedule: { kind: warmup, steps: 0 }"),
        "local.schedule.steps: is 0; must be from 1 to 1000000"
    );
    assert_eq!(
        with("schedule: { kind: cosine, floor: 1.5 }"),
        "local.schedule.floor: is 1.5; must be from 0 to 1"
    );
    assert_eq!(
        with("schedule: { kind: staircase, every: 5, factor: 0 }"),
        "local.schedule.factor: is 0.0; must be a finite number above 0"
    );
}

#[test]
fn partitions_have_clients_and_a_finite_concentration() {
    assert_eq!(
        refusal("alpha: 0.5", "alpha: 0"),
        "dataset.partition.alpha: is 0.0; must be a finite number above 0"
    );
    assert_eq!(
        refusal(
            "kind: dirichlet, alpha: 0.5",
            "kind: quantity_skew, alpha: .nan"
        ),
        "dataset.partition.alpha: is NaN; must be a finite number above 0"
    );
    assert_eq!(
        refusal("dirichlet, alpha: 0.5", "labels_per_client, labels: 0"),
        "dataset.partition.labels: is 0; must be at least 1"
    );
    assert_eq!(
        refusal("clients: 8", "clients: 100001"),
        "dataset.partition.clients: is 100001; must be from 1 to 100000"
    );
}

#[test]
fn local_training_has_one_length_and_a_batch() {
    assert_eq!(
        refusal("epochs: 2", "epochs: 0"),
        "local.epochs: is 0; must be from 1 to 1000000"
    );
    assert_eq!(
        refusal("epochs: 2", "epochs: 2\n  steps: 5"),
        "local: has both epochs and steps; must have one of them"
    );
    assert_eq!(
        refusal("  epochs: 2\n", ""),
        "local: has neither epochs nor steps; must have one of them"
    );
    assert_eq!(
        refusal("batch_size: 32", "batch_size: 65537"),
        "local.batch_size: is 65537; must be from 1 to 65536"
    );
}

#[test]
fn optimizers_have_finite_parameters_in_their_ranges() {
    assert_eq!(
        refusal("rate: 0.05", "rate: 1e60"),
        "local.optimizer.learning_rate: is inf; must be a finite number above 0"
    );
    assert_eq!(
        refusal("momentum: 0.9", "momentum: 1"),
        "local.optimizer.momentum: is 1.0; must be at least 0 and below 1"
    );
    assert_eq!(
        refusal("momentum: 0.9", "weight_decay: -0.1"),
        "local.optimizer.weight_decay: is -0.1; must be a finite number of at least 0"
    );
    assert_eq!(
        refusal(
            "kind: sgd, learning_rate: 0.05, momentum: 0.9",
            "kind: adamw, learning_rate: -1, beta1: 1, beta2: .nan, epsilon: 0, \
             weight_decay: .inf"
        ),
        "local.optimizer.learning_rate: is -1.0; must be a finite number above 0\n\
         local.optimizer.beta1: is 1.0; must be at least 0 and below 1\n\
         local.optimizer.beta2: is NaN; must be at least 0 and below 1\n\
         local.optimizer.epsilon: is 0.0; must be a finite number above 0\n\
         local.optimizer.weight_decay: is inf; must be a finite number of at least 0"
    );
}

#[test]
fn rounds_have_a_cohort_and_a_time() {
    assert_eq!(
        refusal("rounds: 20", "rounds: 0"),
        "rounds: is 0; must be from 1 to 100000"
    );
    assert_eq!(
        refusal("fraction: 1.0", "fraction: 1.7"),
        "cohort.fraction: is 1.7; must be above 0 and at most 1"
    );
    assert_eq!(
        refusal("quorum: 1.0", "quorum: 0"),
        "cohort.quorum: is 0.0; must be above 0 and at most 1"
    );
    assert_eq!(
        refusal("min_clients: 2", "min_clients: 0"),
        "cohort.min_clients: is 0; must be at least 1"
    );
    assert_eq!(
        refusal("min_clients: 2", "min_clients: 9"),
        "cohort.min_clients: is 9; must be at most 8, the number of clients"
    );
    assert_eq!(
        refusal("deadline: 2m", "deadline: 500ms"),
        "cohort.deadline: is 500ms; must be from 1s to 7d"
    );
    assert_eq!(
        refusal("deadline: 2m", "deadline: 8d"),
        "cohort.deadline: is 8days; must be from 1s to 7d"
    );
}

#[test]
fn stop_rules_can_come_true() {
    assert_eq!(
        refusal(
            "seed: 7",
            "stop: { target: { metric: accuracy, value: 97 }, patience: 0 }"
        ),
        "stop.target.value: is 97.0; must be above 0 and at most 1\n\
         stop.patience: is 0; must be at least 1"
    );
    assert_eq!(
        refusal("seed: 7", "stop: { target: { metric: loss, value: .nan } }"),
        "stop.target.value: is NaN; must be a finite number"
    );
}

#[test]
fn all_violations_are_reported_in_the_order_of_the_file() {
    let text = DIGITS
        .replace("rounds: 20", "rounds: 0")
        .replace("alpha: 0.5", "alpha: -1")
        .replace("quorum: 1.0", "quorum: 2");
    let draft: JobDraft = serde_yaml_ng::from_str(&text).unwrap();
    let fields: Vec<String> = JobSpec::try_from(draft)
        .unwrap_err()
        .violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(
        fields,
        ["dataset.partition.alpha", "rounds", "cohort.quorum"]
    );
}
