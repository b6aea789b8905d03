//! Text that is no job at all. The reader adds the place.

use super::*;

/// What is said of [`DIGITS`] with one part of its text replaced.
fn refusal(part: &str, replacement: &str) -> String {
    serde_yaml_ng::from_str::<JobDraft>(&digits_with(part, replacement))
        .unwrap_err()
        .to_string()
}

#[test]
fn an_unknown_key_is_answered_with_the_known_ones() {
    assert_eq!(
        refusal("seed: 7", "sed: 7"),
        "unknown field `sed`, expected one of `name`, `model`, `dataset`, `local`, `strategy`, \
         `rounds`, `cohort`, `stop`, `seed`, `kernel_class`, `publish_as` at line 14 column 1"
    );
    assert_eq!(
        refusal("epochs: 2", "epoch: 2"),
        "local: unknown field `epoch`, expected one of `epochs`, `steps`, `batch_size`, \
         `optimizer`, `schedule`, `clip_norm` at line 8 column 3"
    );
    assert_eq!(
        refusal("deadline: 2m", "timeout: 2m"),
        "cohort: unknown field `timeout`, expected one of `fraction`, `min_clients`, `quorum`, \
         `deadline` at line 13 column 55"
    );
    assert_eq!(
        refusal("clients: 8", "clients: 8, size: 1"),
        "dataset.partition: unknown field `size`, expected one of `kind`, `alpha`, `labels`, \
         `clients`, `seed` at line 6 column 57"
    );
    assert_eq!(
        refusal("hidden: [64]", "widths: [64]"),
        "model: unknown field `widths`, expected one of `kind`, `hidden`, `activation`, \
         `channels`, `kernel`, `image`, `blocks`, `width`, `heads`, `layers`, `name`, `version` at \
         line 3 column 21"
    );
    assert_eq!(
        refusal("kind: fedavg", "kind: fedavg, mu: 1"),
        "strategy: unknown field `mu`, expected `kind` or `weighting` at line 11 column 27"
    );
    assert!(refusal("learning_rate: 0.05", "lr: 0.05").contains(
        "unknown field `lr`, expected one of `learning_rate`, `momentum`, `weight_decay`"
    ));
    assert_eq!(
        refusal("seed: 7", "stop: { goal: 1 }"),
        "stop: unknown field `goal`, expected `target` or `patience` at line 14 column 9"
    );
}

#[test]
fn an_unknown_kind_is_answered_with_the_known_ones() {
    assert_eq!(
        refusal("kind: mlp", "kind: rnn"),
        "model.kind: unknown variant `rnn`, expected one of `softmax_regression`, `mlp`, `cnn`, \
         `gpt`, `layers`, `published` at line 3 column 16"
    );
    assert_eq!(
        refusal("kind: dirichlet", "kind: dirichle"),
        "dataset.partition.kind: unknown variant `dirichle`, expected one of `iid`, `dirichlet`, \
         `labels_per_client`, `quantity_skew` at line 6 column 22"
    );
    assert_eq!(
        refusal("seed: 7", "kernel_class: avx2"),
        "kernel_class: unknown variant `avx2`, expected one of `x86-64-v4`, `x86-64-v3`, \
         `aarch64`, `portable` at line 14 column 15"
    );
    assert_eq!(
        refusal("kind: fedavg", "kind: fedprox"),
        "strategy.kind: unknown variant `fedprox`, expected `fedavg` at line 11 column 19"
    );
    assert_eq!(
        refusal("{ kind: fedavg }", "fedavg"),
        "strategy: invalid type: string \"fedavg\", expected a map with the key `kind` at line 11 \
         column 11"
    );
}

#[test]
fn keys_that_do_not_belong_to_a_kind_are_answered_with_those_that_do() {
    assert_eq!(
        refusal("kind: dirichlet", "kind: iid"),
        "dataset: a partition of kind `iid` takes `clients` and may take `seed` at line 5 column 3"
    );
    assert_eq!(
        refusal("alpha: 0.5, ", ""),
        "dataset: a partition of kind `dirichlet` takes `alpha` and `clients`, and may take \
         `seed` at line 5 column 3"
    );
    assert_eq!(
        refusal(", activation: relu", ""),
        "a model of kind `mlp` takes `hidden` and `activation` at line 2 column 1"
    );
    assert_eq!(
        refusal("kind: mlp", "kind: softmax_regression"),
        "a model of kind `softmax_regression` takes nothing but its `kind` at line 2 column 1"
    );
}

#[test]
fn a_wrong_type_is_answered_with_the_right_one_in_words() {
    let whole = "expected a whole number from 0 to 2^32-1";
    assert_eq!(
        refusal("rounds: 20", "rounds: many"),
        format!("rounds: invalid type: string \"many\", {whole} at line 12 column 9")
    );
    assert_eq!(
        refusal("rounds: 20", "rounds: 2.5"),
        format!("rounds: invalid type: floating point `2.5`, {whole} at line 12 column 9")
    );
    assert_eq!(
        refusal("hidden: [64]", "hidden: [-1]"),
        "model.hidden[0]: invalid type: integer `-1`, expected a whole number from 0 to 2^64-1 at \
         line 3 column 30"
    );
    assert_eq!(
        refusal("alpha: 0.5", "alpha: half"),
        "dataset.partition.alpha: invalid type: string \"half\", expected a number at line 6 \
         column 40"
    );
    assert_eq!(
        refusal("deadline: 2m", "deadline: 120"),
        "cohort.deadline: invalid value: string \"120\", expected a number with a unit of time, \
         such as `90s` or `2m` at line 13 column 65"
    );
}

#[test]
fn an_impossible_number_is_answered_with_the_possible_ones() {
    assert_eq!(
        refusal("rounds: 20", "rounds: 99999999999"),
        "rounds: invalid value: integer `99999999999`, expected a whole number from 0 to 2^32-1 \
         at line 12 column 9"
    );
    assert_eq!(
        refusal("seed: 7", "seed: -7"),
        "seed: invalid type: integer `-7`, expected a whole number from 0 to 2^64-1 at line 14 \
         column 7"
    );
}

#[test]
fn a_missing_key_is_named() {
    assert_eq!(
        refusal("rounds: 20\n", ""),
        "missing field `rounds` at line 2 column 1"
    );
}
