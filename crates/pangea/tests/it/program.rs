//! The program against a house that listens on a port.

use std::path::{Path, PathBuf};

use federation::Digest;
use serde_json::{Value, json};

use crate::scene::{DIGITS, SHORT_JOB, Scene, changed, held_out};
use crate::shell::{Told, pangea};

/// A house, and a shell whose folder has a job file.
struct Desk {
    _scene: Scene,
    server: String,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn with_digits() -> Self {
        let scene = Scene::with_digits(2).await;
        let server = scene.server();
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Self {
            _scene: scene,
            server,
            folder,
        };
        let job = changed(SHORT_JOB, &[("rounds: 4", "rounds: 4\npublish_as: short")]);
        std::fs::write(desk.file("job.yaml"), job).expect("a job file");
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn text(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.text()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let json = [arguments, &["--output", "json"]].concat();
        self.run(&json).await.json()
    }

    async fn run(&self, arguments: &[&str]) -> Told {
        pangea(&[arguments, &["--server", &self.server]].concat()).await
    }

    /// Trains the job, as a person would; gives the run.
    async fn train(&self) -> Value {
        let job = self.file("job.yaml");
        self.json(&["submit", text(&job), "--watch"]).await
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_set_is_imported_listed_and_shown() {
    let desk = Desk::with_digits().await;
    let import = [
        "dataset", "import", DIGITS, "--label", "label", "--name", "again",
    ];
    let told = desk.text(&import).await;
    let expected = "imported again: 1,438 training rows, 359 test rows, 64 features, 10 classes\n";
    assert_eq!(told, expected);
    let again = desk.json(&import).await;
    assert_eq!(again["label"], "label");
    assert_eq!(again["scaling"], "standard");

    let datasets = desk.json(&["dataset", "list"]).await;
    let names: Vec<_> = list(&datasets)
        .iter()
        .map(|dataset| &dataset["name"])
        .collect();
    assert_eq!(names, ["again", "digits"]);
    assert_eq!(list(&datasets)[0], again);
    assert_eq!(desk.text(&["dataset", "list"]).await.lines().count(), 3);

    let show = [
        "dataset",
        "show",
        "digits",
        "--partition",
        "dirichlet:0.5",
        "--clients",
        "8",
    ];
    let shown = desk.json(&show).await;
    let rows = list(&shown["clients"])
        .iter()
        .map(|client| list(&client["rows"]));
    let rows: f64 = rows.flatten().map(number).sum();
    let test_rows = number(&shown["dataset"]["test_rows"]);
    assert!(
        (rows + test_rows - 1797.0).abs() < 0.5,
        "{rows} {test_rows}"
    );
    let text = desk.text(&show).await;
    assert!(text.contains("training rows  1,438\n"), "{text}");
    assert!(text.contains("\nclient-0007 "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_validated_submitted_watched_and_looked_back_on() {
    let desk = Desk::with_digits().await;
    let job = desk.file("job.yaml");
    let job = text(&job);
    let valid = desk.json(&["validate", job]).await;
    assert_eq!(
        (&valid["parameters"], &valid["cohort_size"]),
        (&json!(1210), &json!(4))
    );
    let told = desk.text(&["validate", job]).await;
    assert_eq!(
        told,
        format!("{job}: accepted; 1,210 parameters, 4 clients a round\n")
    );

    let told = desk
        .text(&["submit", job, "--watch", "--idempotency-key", "one"])
        .await;
    let lines: Vec<&str> = told.lines().collect();
    let run = lines[0]
        .strip_prefix("run ")
        .unwrap()
        .strip_suffix(" started")
        .unwrap();
    assert!(
        lines[1].starts_with("run completed after 4 rounds: accuracy "),
        "{told}"
    );
    assert!(lines[1].ends_with("; published as short@1"), "{told}");
    let again = desk
        .text(&["submit", job, "--idempotency-key", "one"])
        .await;
    assert_eq!(again, format!("run {run} was started before\n"));

    let events = desk
        .run(&["watch", "latest", "--output", "json"])
        .await
        .json_lines();
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event["kind"].as_str())
        .collect();
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| **kind == "round_committed")
            .count(),
        4
    );
    assert_eq!(events[0]["state"], "pending");
    assert_eq!(events.last().unwrap()["state"], "completed");
    let told = desk.text(&["watch", run]).await;
    assert_eq!(told.lines().last(), Some(lines[1]));

    let runs = desk.json(&["runs"]).await;
    assert_eq!(list(&runs).len(), 1);
    let latest = desk.json(&["run", "latest"]).await;
    assert_eq!(latest, runs[0]);
    assert_eq!(
        (&latest["run"], &latest["state"]),
        (&json!(run), &json!("completed"))
    );
    assert_eq!(latest["job"]["name"], "short");
    let shown = desk.text(&["run", "latest"]).await;
    assert!(
        shown.contains("reason       all rounds are done\n"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rounds_of_a_run_are_exported_and_its_workers_counted() {
    let desk = Desk::with_digits().await;
    let run = desk.train().await;
    let run = &run["run"];
    let rounds = desk
        .text(&["run", "export", "latest", "--format", "json"])
        .await;
    let rounds: Value = serde_json::from_str(&rounds).unwrap();
    let rounds = list(&rounds);
    assert_eq!(rounds.len(), 4);
    assert_eq!(rounds[3]["accuracy"], run["accuracy"]);
    assert_eq!(rounds[3]["model_digest"], run["model"]["digest"]);

    let csv = desk
        .text(&["run", "export", "latest", "--format", "csv"])
        .await;
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let heading = lines.next().unwrap();
    let column = |name| heading.iter().position(|column| *column == name).unwrap();
    for (line, round) in lines.by_ref().zip(rounds) {
        assert_eq!(line[column("round")], round["round"].to_string());
        assert_eq!(line[column("accepted")], "4");
        assert_eq!(line[column("accuracy")], round["accuracy"].to_string());
        assert_eq!(line[column("model_digest")], round["model_digest"]);
    }
    assert!(lines.next().is_none());
    assert_eq!(csv.lines().count(), 5);

    let workers = desk.json(&["workers"]).await;
    let names: Vec<_> = list(&workers)
        .iter()
        .map(|worker| &worker["worker"])
        .collect();
    assert_eq!(names, ["worker-1", "worker-2"]);
    let accepted = list(&workers)
        .iter()
        .map(|worker| number(&worker["updates_accepted"]));
    assert!((accepted.sum::<f64>() - 16.0).abs() < 0.5);
    assert_eq!(workers[0]["state"], "healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_listed_and_downloaded() {
    let desk = Desk::with_digits().await;
    desk.train().await;
    desk.train().await;
    let models = desk.json(&["models"]).await;
    assert_eq!(list(&models).len(), 1);
    assert_eq!(models[0]["version"], 2);
    assert_eq!(list(&desk.json(&["models", "short"]).await).len(), 2);
    let table = desk.text(&["models"]).await;
    assert!(table.contains("\nshort@2 "), "{table}");

    let file = desk.file("first.safetensors");
    let download = ["model", "download", "short@1", "--to", text(&file)];
    let fetched = desk.json(&download).await;
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(fetched["digest"], Digest::of(&bytes).to_string());
    assert_eq!(fetched["bytes"], bytes.len());
    assert_eq!(fetched["file"], text(&file));
    let told = desk.text(&download).await;
    assert!(
        told.starts_with(&format!("wrote {}: short@1, ", file.display())),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_measured_on_the_held_out_rows_as_its_run_was() {
    let desk = Desk::with_digits().await;
    let run = desk.train().await;
    let run = &run["run"];
    let held_out = held_out();
    let rows = desk.file("held-out.csv");
    std::fs::write(&rows, &held_out).unwrap();

    let measured = desk.json(&["evaluate", "short", text(&rows)]).await;
    assert_eq!(measured["num_examples"], 359);
    assert_eq!(measured["accuracy"], run["accuracy"]);
    let difference = number(&measured["loss"]) - number(&run["loss"]);
    assert!(difference.abs() < 1e-6, "{difference}");

    let told = desk.text(&["predict", "short@1", text(&rows)]).await;
    let predicted = told.lines().skip(1).map(|line| line.split(',').next());
    let label = held_out
        .lines()
        .skip(1)
        .map(|line| line.split(',').next_back());
    let right = predicted
        .zip(label)
        .filter(|(told, label)| told == label)
        .count();
    let accuracy = right as f64 / 359.0;
    assert!(
        (accuracy - number(&run["accuracy"])).abs() < 1e-9,
        "{accuracy}"
    );
    assert!(told.starts_with("prediction,p_0,p_1,"), "{told}");
    assert_eq!(told.lines().count(), 360);
}
