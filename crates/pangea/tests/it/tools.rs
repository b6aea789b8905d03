//! The house as tools that are not ours see it: Python's safetensors, and grpcurl.

use client::{Content, v1};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::scene::{DIGITS, SHORT_JOB, Scene, digits_options, held_out, job};
use crate::shell::{Told, run};

#[tokio::test(flavor = "multi_thread")]
async fn pythons_safetensors_reads_a_model_that_is_as_good_as_its_run_said() {
    let test = "pythons_safetensors_reads_a_model_that_is_as_good_as_its_run_said";
    if !test_tools::runs(test, "python3", &["-c", "import safetensors.numpy"]) {
        return;
    }
    let scene = Scene::with_digits(2).await;
    let mut options = digits_options();
    options.name = "raw".to_owned();
    options.content = Content::Table {
        label: "label".to_owned(),
        scaling: v1::Scaling::None,
    };
    let imported = scene.client.import_dataset(DIGITS.as_ref(), &options).await;
    imported.unwrap();
    let raw = [
        ("name: digits", "name: raw"),
        ("learning_rate: 0.05", "learning_rate: 0.002"),
        ("rounds: 4", "rounds: 8\npublish_as: raw"),
    ];
    let trained = scene.train(&job(SHORT_JOB, &raw)).await;
    let folder = tempfile::tempdir().unwrap();
    let (model, rows) = (
        folder.path().join("raw.safetensors"),
        folder.path().join("rows.csv"),
    );
    scene
        .client
        .download(&"raw".parse().unwrap(), &model)
        .await
        .unwrap();
    std::fs::write(&rows, held_out()).unwrap();

    let mut python = Command::new("python3");
    python
        .args(["-c", include_str!("accuracy.py")])
        .args([&model, &rows]);
    let told = run(python).await.json();
    let tensors = json!({
        "layers.000.bias": ["float32", [16]],
        "layers.000.weight": ["float32", [16, 64]],
        "layers.002.bias": ["float32", [10]],
        "layers.002.weight": ["float32", [10, 16]],
    });
    assert_eq!(told["tensors"], tensors);
    assert_eq!(told["accuracy"].as_f64(), trained.accuracy);
    assert!(trained.accuracy.unwrap() > 0.7, "{trained:?}");
}

async fn grpcurl(server: &str, arguments: &[&str]) -> Told {
    let mut command = Command::new("grpcurl");
    let (options, call) = arguments.split_at(arguments.len() - 1);
    command
        .arg("-plaintext")
        .args(options)
        .arg(server)
        .args(call);
    run(command).await
}

/// A job that takes no more than its JSON to submit.
fn request() -> Value {
    json!({
        "idempotencyKey": "by-hand",
        "job": {
            "name": "by-hand",
            "model": { "softmaxRegression": {} },
            "dataset": { "name": "digits", "partition": { "clients": 4, "iid": {} } },
            "local": { "epochs": 1, "optimizer": { "sgd": { "learningRate": 0.05 } } },
            "rounds": 3,
            "publishAs": "by-hand",
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_and_watched_with_grpcurl_alone() {
    let test = "a_job_is_submitted_and_watched_with_grpcurl_alone";
    if !test_tools::runs(test, "grpcurl", &["--version"]) {
        return;
    }
    let scene = Scene::with_digits(2).await;
    let server = scene.server();
    let services = grpcurl(&server, &["list"]).await.text();
    let services: Vec<&str> = services.lines().collect();
    for service in ["Datasets", "Jobs", "Models", "Workers"] {
        let service = format!("pangea.v1.{service}");
        assert!(services.contains(&&service[..]), "{services:?}");
    }
    assert!(services.contains(&"grpc.health.v1.Health"), "{services:?}");

    let submit = ["-d", &request().to_string(), "pangea.v1.Jobs/Submit"];
    let submitted = grpcurl(&server, &submit).await.json();
    let run = submitted["run"]["run"].as_str().unwrap();
    let watch = [
        "-d",
        &json!({ "run": run }).to_string(),
        "pangea.v1.Jobs/Watch",
    ];
    let told = grpcurl(&server, &watch).await.text();
    let events = serde_json::Deserializer::from_str(&told).into_iter::<Value>();
    let events: Vec<Value> = events.collect::<Result<_, _>>().unwrap();
    let committed = events
        .iter()
        .filter(|event| event["roundCommitted"].is_object());
    assert_eq!(committed.count(), 3);
    let last = &events.last().unwrap()["runStateChanged"];
    assert_eq!(last["state"], "RUN_STATE_COMPLETED");
    assert_eq!(scene.client.models(None).await.unwrap()[0].name, "by-hand");

    let unknown = ["-d", r#"{ "run": "seven" }"#, "pangea.v1.Jobs/Get"];
    let refusal = grpcurl(&server, &unknown).await;
    assert_ne!(refusal.status, 0);
    assert!(
        refusal.stderr.contains("INVALID_MESSAGE"),
        "{}",
        refusal.stderr
    );
}
