//! A regression: numbers learnt from a table, with no labels anywhere.

use std::path::PathBuf;

use serde_json::Value;

use crate::scene::{SHORT_JOB, Scene, changed};
use crate::shell::{Told, pangea};

const TABLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/pendulum/pendulum.csv"
);

const JOB: &str = include_str!("../../../../examples/pendulum/job.yaml");

/// The mean squared error that the example's job asks for.
const BOUND: f64 = 0.0025;

/// A house that knows the digits and the pendulum, and a folder of a person who works with it.
struct Desk {
    scene: Scene,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        let desk = Self {
            scene: Box::pin(Scene::with_digits(2)).await,
            folder: tempfile::tempdir().expect("a folder"),
        };
        let import = ["dataset", "import", TABLE, "--target", "period"];
        let told = desk.run(&import).await.text();
        assert_eq!(
            told,
            "imported pendulum: 480 training rows, 120 test rows, 2 features, target period\n"
        );
        desk
    }

    async fn run(&self, arguments: &[&str]) -> Told {
        pangea(&[arguments, &["--server", &self.scene.server()]].concat()).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let json = [arguments, &["--output", "json"]].concat();
        self.run(&json).await.json()
    }

    fn job(&self, text: &str) -> String {
        let file: PathBuf = self.folder.path().join("job.yaml");
        std::fs::write(&file, text).expect("a file");
        file.to_str().expect("a path of text").to_owned()
    }

    /// What submitting a job comes to, which is what validating it comes to.
    async fn refused(&self, text: &str) -> String {
        let job = self.job(text);
        let submitted = self.run(&["submit", &job]).await.refusal();
        let validated = self.run(&["validate", &job]).await.refusal();
        assert_eq!(validated, submitted);
        submitted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regression_learns_the_numbers_of_a_column() {
    let desk = Desk::open().await;
    let job = desk.job(JOB);
    let submitted = desk.json(&["submit", &job, "--watch"]).await;
    let run = &submitted["run"];
    assert_eq!(run["state"], "completed", "{run}");
    assert_eq!(run["accuracy"], Value::Null);
    let loss = run["loss"].as_f64().expect("a loss");
    assert!(loss <= BOUND, "{loss}");
    let rounds = desk
        .scene
        .client
        .rounds(run["run"].as_str().expect("a run"));
    let rounds = rounds.await.expect("rounds");
    let first = rounds[0].loss.expect("a loss");
    assert!(first > 10.0 * BOUND, "the first round had {first} already");
    assert!(rounds.iter().all(|round| round.accuracy.is_none()));

    let measured = desk.json(&["evaluate", "pendulum", TABLE]).await;
    assert_eq!(measured["accuracy"], Value::Null);
    assert!(
        measured["loss"].as_f64().expect("a loss") < 2.0 * BOUND,
        "{measured}"
    );
    let told = desk.run(&["evaluate", "pendulum", TABLE]).await.text();
    assert!(
        told.starts_with("pendulum@1 on 600 rows: loss 0.00"),
        "{told}"
    );

    let predicted = desk.run(&["predict", "pendulum", TABLE]).await.text();
    let table = std::fs::read_to_string(TABLE).expect("the table");
    let pairs: Vec<(f64, f64)> = predicted
        .lines()
        .zip(table.lines())
        .skip(1)
        .map(|(own, row)| {
            let period = row.rsplit(',').next().expect("a period");
            (
                own.parse().expect("a number"),
                period.parse().expect("a number"),
            )
        })
        .collect();
    assert_eq!(pairs.len(), 600);
    let squares: f64 = pairs
        .iter()
        .map(|(own, true_one)| (own - true_one).powi(2))
        .sum();
    let told = measured["loss"].as_f64().expect("a loss");
    assert!(
        (squares / 600.0 - told).abs() < 1e-6,
        "{squares} and {told}"
    );
}

/// Each of its rounds makes the parameters a thousand times as large.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_diverges_fails_by_name_and_keeps_its_last_good_model() {
    let desk = Desk::open().await;
    let job = desk.job(&changed(
        JOB,
        &[
            ("    - { kind: linear, inputs: 2, outputs: 32 }\n", ""),
            ("    - { kind: gelu }\n", ""),
            ("inputs: 32, outputs: 1", "inputs: 2, outputs: 1"),
            ("epochs: 5\n  batch_size: 16", "steps: 1\n  batch_size: 120"),
            (
                "kind: adamw, learning_rate: 0.01",
                "kind: sgd, learning_rate: 1000",
            ),
        ],
    ));
    let submitted = desk.json(&["submit", &job]).await;
    let id = submitted["run"]["run"].as_str().expect("a run");
    let watched = desk.run(&["watch", id]).await;
    assert_eq!(watched.status, 1, "{}", watched.stdout);
    let run = desk.json(&["run", id]).await;
    assert_eq!(run["state"], "failed", "{run}");
    let reason = run["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("not finite") || reason.contains("diverged"),
        "{reason}"
    );

    let kept = run["rounds_committed"].as_u64().expect("rounds");
    assert!(kept > 0, "{run}");
    let again = desk.run(&["replay", id, &kept.to_string()]).await;
    assert_eq!(again.status, 0, "{}", again.stderr);
    let refused = desk.run(&["predict", "pendulum", TABLE]).await.refusal();
    assert!(refused.contains("pendulum"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_and_labels_are_not_taken_for_each_other() {
    let desk = Desk::open().await;
    let of_digits = changed(
        JOB,
        &[(
            "  name: pendulum\n  partition",
            "  name: digits\n  partition",
        )],
    );
    let of_digits = of_digits.replace("inputs: 2,", "inputs: 64,");
    let refused = desk.refused(&of_digits).await;
    assert!(
        refused.contains("the model is a regression, and the rows have labels"),
        "{refused}"
    );
    let of_numbers = SHORT_JOB.replace("name: digits", "name: pendulum");
    let refused = desk.refused(&of_numbers).await;
    assert!(refused.contains("the model is no regression"), "{refused}");
    let by_label = changed(JOB, &[("kind: iid, ", "kind: dirichlet, alpha: 1, ")]);
    let refused = desk.refused(&by_label).await;
    assert!(
        refused.contains("dataset.partition.kind: is dirichlet"),
        "{refused}"
    );

    let show = [
        "dataset",
        "show",
        "pendulum",
        "--clients",
        "3",
        "--partition",
    ];
    let refused = desk
        .run(&[&show[..], &["dirichlet:1"]].concat())
        .await
        .refusal();
    assert!(refused.contains("and not by their labels"), "{refused}");
    let shown = desk.json(&[&show[..], &["iid"]].concat()).await;
    assert_eq!(shown["dataset"]["has_targets"], true);
    assert_eq!(shown["clients"][0]["rows"], serde_json::json!([160]));
    let told = desk.run(&[&show[..], &["iid"]].concat()).await.text();
    assert!(told.contains("target         period"), "{told}");
    assert!(told.contains("client-0000  160"), "{told}");
}
