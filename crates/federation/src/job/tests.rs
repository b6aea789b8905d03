use super::*;
use crate::local::LocalDuration;

mod refused_text;
mod refused_values;

const DIGITS: &str = "
name: digits
model: { kind: mlp, hidden: [64], activation: relu }
dataset:
  name: digits
  partition: { kind: dirichlet, alpha: 0.5, clients: 8 }
local:
  epochs: 2
  batch_size: 32
  optimizer: { kind: sgd, learning_rate: 0.05, momentum: 0.9 }
strategy: { kind: fedavg }
rounds: 20
cohort: { fraction: 1.0, min_clients: 2, quorum: 1.0, deadline: 2m }
seed: 7
publish_as: digits
";

/// [`DIGITS`] with one part of the text replaced.
fn digits_with(part: &str, replacement: &str) -> String {
    assert!(DIGITS.contains(part), "{part:?} is not in the text");
    DIGITS.replacen(part, replacement, 1)
}

fn parse(text: &str) -> JobSpec {
    let draft: JobDraft = serde_yaml_ng::from_str(text).unwrap();
    JobSpec::try_from(draft).unwrap()
}

fn digits_facts() -> DatasetFacts {
    DatasetFacts {
        train_rows: 1437,
        features: 64,
        classes: 10,
        is_text: false,
        has_targets: false,
    }
}

#[test]
fn the_example_becomes_the_job_it_says() {
    let spec = parse(DIGITS);
    assert_eq!(spec.rounds.get(), 20);
    assert_eq!(spec.partition.clients.get(), 8);
    assert_eq!(spec.partition.seed, 7);
    assert_eq!(spec.local.duration, LocalDuration::Epochs(2));
    assert_eq!(spec.cohort.deadline.as_secs(), 120);
    assert_eq!(spec.publish_as.as_deref(), Some("digits"));
    assert_eq!(spec.stop, StopRule::default());
}

#[test]
fn what_is_left_out_has_defaults() {
    let spec = parse(
        "
name: short
model: { kind: softmax_regression }
dataset: { name: digits, partition: { kind: iid, clients: 4, seed: 9 } }
local: { steps: 10, optimizer: { kind: sgd, learning_rate: 0.1 } }
rounds: 1
",
    );
    assert_eq!(spec.strategy, Strategy::default());
    assert_eq!(spec.draft().cohort, CohortDraft::default());
    assert_eq!(spec.cohort.deadline.as_secs(), 600);
    assert_eq!(spec.local.batch_size, 32);
    assert_eq!((spec.seed, spec.partition.seed), (0, 9));
    assert_eq!(spec.publish_as, None);
}

#[test]
fn every_kind_of_part_is_read_and_stored() {
    let texts = [
        digits_with(
            "kind: mlp, hidden: [64], activation: relu",
            "kind: published, name: mnist, version: 3",
        ),
        digits_with(
            "kind: mlp, hidden: [64], activation: relu",
            "kind: softmax_regression",
        ),
        digits_with("kind: mlp, hidden: [64], activation: relu", "kind: cnn"),
        digits_with(
            "kind: mlp, hidden: [64], activation: relu",
            "kind: cnn, channels: [8], kernel: 5, hidden: [], image: [1, 8, 8]",
        ),
        digits_with("kind: mlp, hidden: [64], activation: relu", "kind: gpt"),
        digits_with(
            "kind: mlp, hidden: [64], activation: relu",
            "kind: gpt, blocks: 2, width: 32, heads: 2",
        ),
        digits_with(
            "kind: mlp, hidden: [64], activation: relu",
            "kind: layers, layers: [{ kind: linear, inputs: 64, outputs: 10 }]",
        ),
        DIGITS.replace(
            "optimizer:",
            "clip_norm: 1\n  schedule: { kind: cosine, warmup_steps: 5 }\n  optimizer:",
        ),
        digits_with("dirichlet, alpha: 0.5", "labels_per_client, labels: 2"),
        digits_with("kind: dirichlet", "kind: quantity_skew"),
        digits_with("kind: fedavg", "kind: fedavg, weighting: uniform"),
        digits_with(
            "seed: 7",
            "seed: 18446744073709551615\nstop: { target: { metric: accuracy, value: 0.97 }, \
             patience: 5 }",
        ),
        digits_with("deadline: 2m", "deadline: 1m 30s 5ms"),
        digits_with("seed: 7", "seed: 7\nkernel_class: x86-64-v3"),
    ];
    for text in texts {
        let spec = parse(&text);
        let stored = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<JobSpec>(&stored).unwrap(), spec);
    }
}

#[test]
fn a_stop_rule_is_read() {
    let text = digits_with(
        "seed: 7",
        "stop: { target: { metric: loss, value: 0.1 }, patience: 5 }",
    );
    let target = Target {
        metric: Metric::Loss,
        value: 0.1,
    };
    let stop = StopRule {
        target: Some(target),
        patience: NonZeroU32::new(5),
    };
    assert_eq!(parse(&text).stop, stop);
}

#[test]
fn the_digest_sees_values_and_not_layout() {
    let digest = parse(DIGITS).digest();
    assert_eq!(parse(&digits_with("fraction: 1.0, ", "")).digest(), digest);
    assert_eq!(
        parse(&digits_with("seed: 7\n", "seed:   7\n")).digest(),
        digest
    );
    assert_ne!(parse(&digits_with("seed: 7", "seed: 8")).digest(), digest);
}

#[test]
fn the_canonical_form_stays_as_it_is() {
    // Digests of stored jobs are held against this form.
    let spec = parse(DIGITS);
    assert_eq!(
        String::from_utf8(canonical_json(spec.draft())).unwrap(),
        concat!(
            r#"{"name":"digits","model":{"kind":"mlp","hidden":[64],"activation":"relu"},"#,
            r#""dataset":{"name":"digits","#,
            r#""partition":{"kind":"dirichlet","alpha":0.5,"clients":8}},"#,
            r#""local":{"epochs":2,"batch_size":32,"optimizer":{"kind":"sgd","#,
            r#""learning_rate":0.05,"momentum":0.9,"weight_decay":0.0}},"#,
            r#""strategy":{"kind":"fedavg","weighting":"examples"},"rounds":20,"#,
            r#""cohort":{"fraction":1.0,"min_clients":2,"quorum":1.0,"deadline":"2m"},"#,
            r#""seed":7,"publish_as":"digits"}"#
        )
    );
}

#[test]
fn a_data_set_gives_the_model_its_shape() {
    let architecture = parse(DIGITS).check_against(digits_facts()).unwrap();
    let expected = ModelSpec::Mlp {
        hidden: vec![64],
        activation: crate::model::Activation::Relu,
    };
    assert_eq!(architecture, expected.architecture(64, 10).ok());
}

#[test]
fn a_published_model_brings_its_own_shape() {
    let text = digits_with(
        "kind: mlp, hidden: [64], activation: relu",
        "kind: published, name: mnist",
    );
    assert_eq!(parse(&text).check_against(digits_facts()), Ok(None));
}

#[test]
fn a_data_set_that_does_not_suffice_is_refused_with_all_its_numbers() {
    let text = digits_with("dirichlet, alpha: 0.5", "labels_per_client, labels: 12")
        .replace("hidden: [64]", "hidden: [1000000]");
    let facts = DatasetFacts {
        train_rows: 5,
        features: 3000,
        classes: 10,
        is_text: false,
        has_targets: false,
    };
    assert_eq!(
        parse(&text).check_against(facts).unwrap_err().to_string(),
        "dataset.partition.clients: is 8; the data set has only 5 training rows, and each client \
         needs one\n\
         dataset.partition.labels: is 12; the data set has only 10 classes\n\
         model: does not fit rows of 3000 features and 10 classes: the model has at \
         least 3011000010 parameters, which take 12 GiB; at most 2147483648 are trained; make its \
         layers narrower"
    );
}

#[test]
fn labels_that_nobody_could_hold_are_refused() {
    let text = digits_with("dirichlet, alpha: 0.5", "labels_per_client, labels: 1");
    assert_eq!(
        parse(&text)
            .check_against(digits_facts())
            .unwrap_err()
            .to_string(),
        "dataset.partition.labels: is 1; 8 clients with so few labels cannot hold all 10 classes"
    );
}

#[test]
fn a_text_takes_a_model_that_reads_as_many_tokens_as_it_has_characters() {
    let text = DatasetFacts {
        train_rows: 100,
        features: 64,
        classes: 28,
        is_text: true,
        has_targets: false,
    };
    let check = |model: &str| {
        let job = digits_with("kind: mlp, hidden: [64], activation: relu", model);
        parse(&job)
            .check_against(text)
            .map_err(|error| error.to_string())
    };
    let gpt = check("kind: gpt, blocks: 1, width: 8, heads: 2").unwrap();
    assert_eq!(gpt.unwrap().inputs(), 64);
    assert_eq!(
        check("kind: softmax_regression").unwrap_err(),
        "model: does not fit a text of context 64 and 28 characters: the rows are tokens, which \
         the model does not read; its first layer must be an embedding, as in a model of kind gpt"
    );
    let layers = |vocabulary: u32, context: u32| {
        format!(
            "kind: layers, layers: [{{ kind: embedding, vocabulary: {vocabulary}, width: 2, \
             context: {context} }}, {{ kind: flatten }}, {{ kind: linear, inputs: {}, outputs: 28 \
             }}]",
            2 * context
        )
    };
    assert!(check(&layers(28, 64)).is_ok());
    assert_eq!(
        check(&layers(20, 64)).unwrap_err(),
        "model: does not fit a text of context 64 and 28 characters: the model knows 20 tokens, \
         but there are 28"
    );
    assert_eq!(
        check(&layers(28, 32)).unwrap_err(),
        "model: does not fit a text of context 64 and 28 characters: the rows have 64 tokens, \
         and the model's context is 32; choose a model whose context is 64, or import the text with \
         `--context 32`"
    );
}

/// [`DIGITS`] as a regression on 64 features.
fn regression(outputs: u32) -> String {
    digits_with("dirichlet, alpha: 0.5", "iid").replace(
        "kind: mlp, hidden: [64], activation: relu",
        &format!(
            "kind: layers, layers: [{{ kind: linear, inputs: 64, outputs: {outputs} }}, {{ kind: \
             regression }}]"
        ),
    )
}

#[test]
fn a_regression_takes_targets_and_other_models_take_labels() {
    let numbers = DatasetFacts {
        classes: 1,
        has_targets: true,
        ..digits_facts()
    };
    let check = |text: &str, facts| {
        let checked = parse(text).check_against(facts);
        checked.map_err(|error| error.to_string())
    };
    let fits = check(&regression(1), numbers).unwrap().unwrap();
    assert_eq!(fits.outputs(), 1);
    assert_eq!(
        check(&regression(2), numbers).unwrap_err(),
        "model: does not fit rows of 64 features and a target: the model yields 2 values, but each \
         row has 1 target"
    );
    assert_eq!(
        check(&regression(1), digits_facts()).unwrap_err(),
        "model: does not fit rows of 64 features and 10 classes: the model is a regression, and the \
         rows have labels; leave its last layer, `regression`, out, or import the data set with \
         --target in place of --label"
    );
    assert_eq!(
        check(&digits_with("dirichlet, alpha: 0.5", "iid"), numbers).unwrap_err(),
        "model: does not fit rows of 64 features and a target: the rows have a number as their \
         target, and the model is no regression; its last layer must be `regression`, in a model of \
         kind layers"
    );
}

#[test]
fn what_asks_for_labels_is_refused_where_rows_have_targets() {
    let numbers = DatasetFacts {
        classes: 1,
        has_targets: true,
        ..digits_facts()
    };
    let refusal = |text: String| parse(&text).check_against(numbers).unwrap_err().to_string();
    for (scheme, kind) in [
        ("dirichlet, alpha: 0.5", "dirichlet"),
        ("labels_per_client, labels: 2", "labels_per_client"),
    ] {
        assert_eq!(
            refusal(regression(1).replace("kind: iid", &format!("kind: {scheme}"))),
            format!(
                "dataset.partition.kind: is {kind}, which deals rows by their labels; the data set \
                 has targets and no labels, so it must be iid or quantity_skew"
            )
        );
    }
    let stop = "seed: 7\nstop: { target: { metric: accuracy, value: 0.9 } }";
    assert_eq!(
        refusal(regression(1).replace("seed: 7", stop)),
        "stop.target.metric: is accuracy, which a regression has not; must be loss"
    );
}
