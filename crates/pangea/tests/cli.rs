//! The built program, as a shell runs it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

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

fn pangea(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pangea"));
    command.env_remove("PANGEA_SERVER").args(arguments);
    command.output().expect("the program runs")
}

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

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn a_good_job_is_accepted_without_a_server() {
    let (_folder, path) = job_with("rounds: 20", "rounds: 20");
    let path = path.to_str().unwrap();
    let output = pangea(&["validate", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        format!("{path}: accepted; at most 20 rounds over 8 clients\n")
    );

    let output = pangea(&["validate", path, "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["file"], path);
    assert_eq!(json["parameters"], serde_json::Value::Null);
    assert!(json["job_digest"].as_str().unwrap().starts_with("blake3:"));
}

#[test]
fn an_unknown_key_is_told_with_file_line_and_field() {
    let (_folder, path) = job_with("batch_size", "bach_size");
    let output = pangea(&["validate", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let told = format!(
        "error: {}:8: local.bach_size: unknown key; expected",
        path.display()
    );
    assert!(stderr(&output).starts_with(&told), "{}", stderr(&output));
}

#[test]
fn every_value_that_is_not_accepted_has_a_line() {
    let (_folder, path) = job_with("epochs: 2\n  batch_size: 32", "epochs: 0\n  batch_size: 0");
    let output = pangea(&["submit", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    for (line, field) in lines.iter().zip(["local.epochs", "local.batch_size"]) {
        let beginning = format!("error: {}: {field}: is 0; must be", path.display());
        assert!(line.starts_with(&beginning), "{line}");
    }
}

#[test]
fn a_dead_address_is_told_with_what_to_do() {
    let address = dead_address();
    for arguments in [
        &["runs", "--server", &address][..],
        &["workers", "--server", &address, "--output", "json"],
        &["model", "download", "digits", "--server", &address],
    ] {
        let output = pangea(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(stdout(&output), "");
        let told = format!(
            "error: nobody answers at http://{address} (is the orchestrator running? `pangea up` \
             starts one): "
        );
        assert!(stderr(&output).starts_with(&told), "{}", stderr(&output));
    }
}

#[test]
fn the_server_can_be_said_in_the_environment() {
    let address = dead_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pangea"));
    let output = command
        .env("PANGEA_SERVER", &address)
        .arg("runs")
        .output()
        .unwrap();
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

#[test]
fn a_missing_file_is_named_before_anybody_is_asked() {
    let output = pangea(&["dataset", "import", "/nowhere/d.csv", "--label", "digit"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: cannot read /nowhere/d.csv: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_is_no_command_is_a_usage_error() {
    assert_eq!(pangea(&["fly"]).status.code(), Some(2));
    assert_eq!(pangea(&["--help"]).status.code(), Some(0));
}
