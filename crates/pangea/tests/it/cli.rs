//! What the program says without a server.

use std::net::TcpListener;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::shell::{pangea, pangea_with};

const DIGITS: &str = "\
name: digits
model: { kind: mlp, hidden: [64], activation: relu }
dataset:
  name: digits
  partition: { kind: dirichlet, alpha: 0.5, clients: 8 }
local:
  epochs: 2
  batch_size: 32
  optimizer: { kind: sgd, learning_rate: 0.05 }
rounds: 20
";

/// A job file with one part of its text replaced.
fn job_with(part: &str, replacement: &str) -> (TempDir, PathBuf) {
    assert!(DIGITS.contains(part), "{part:?} is not in the text");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("job.yaml");
    std::fs::write(&path, DIGITS.replacen(part, replacement, 1)).expect("a job file");
    (folder, path)
}

/// An address where nobody listens: one that was free a moment ago.
fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test]
async fn a_good_job_is_accepted_without_a_server() {
    let (_folder, path) = job_with("rounds: 20", "rounds: 20");
    let path = path.to_str().unwrap();
    let output = pangea(&["validate", path]).await;
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert_eq!(
        output.stdout,
        format!("{path}: accepted; at most 20 rounds over 8 clients\n")
    );

    let output = pangea(&["validate", path, "--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(json["file"], path);
    assert_eq!(json["parameters"], serde_json::Value::Null);
    assert!(json["job_digest"].as_str().unwrap().starts_with("blake3:"));
}

#[tokio::test]
async fn an_unknown_key_is_told_with_file_line_and_field() {
    let (_folder, path) = job_with("batch_size", "bach_size");
    let output = pangea(&["validate", path.to_str().unwrap()]).await;
    assert_eq!(output.status, 1);
    assert_eq!(output.stdout, "");
    let told = format!(
        "error: {}:8: local.bach_size: unknown key; expected",
        path.display()
    );
    assert!(output.stderr.starts_with(&told), "{}", output.stderr);
}

#[tokio::test]
async fn every_value_that_is_not_accepted_has_a_line() {
    let (_folder, path) = job_with("epochs: 2\n  batch_size: 32", "epochs: 0\n  batch_size: 0");
    let output = pangea(&["submit", path.to_str().unwrap()]).await;
    assert_eq!(output.status, 1);
    let told = output.stderr;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    for (line, field) in lines.iter().zip(["local.epochs", "local.batch_size"]) {
        let beginning = format!("error: {}: {field}: is 0; must be", path.display());
        assert!(line.starts_with(&beginning), "{line}");
    }
}

#[tokio::test]
async fn a_dead_address_is_told_with_what_to_do() {
    let address = dead_address();
    for arguments in [
        &["runs", "--server", &address][..],
        &["workers", "--server", &address, "--output", "json"],
        &["model", "download", "digits", "--server", &address],
    ] {
        let output = pangea(arguments).await;
        assert_eq!(output.status, 1, "{arguments:?}");
        assert_eq!(output.stdout, "");
        let told = format!(
            "error: nobody answers at http://{address} (is the orchestrator running? `pangea up` \
             starts one): "
        );
        assert!(output.stderr.starts_with(&told), "{}", output.stderr);
    }
}

#[tokio::test]
async fn the_server_can_be_said_in_the_environment() {
    let address = dead_address();
    let output = pangea_with(&[("PANGEA_SERVER", &address)], &["runs"]).await;
    assert!(output.stderr.contains(&address), "{}", output.stderr);
}

#[tokio::test]
async fn a_missing_file_is_named_before_anybody_is_asked() {
    let output = pangea(&["dataset", "import", "/nowhere/d.csv", "--label", "digit"]).await;
    assert_eq!(output.status, 1);
    assert!(
        output
            .stderr
            .starts_with("error: cannot read /nowhere/d.csv: "),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn what_is_no_command_is_a_usage_error() {
    assert_eq!(pangea(&["fly"]).await.status, 2);
    assert_eq!(pangea(&["--help"]).await.status, 0);
}
