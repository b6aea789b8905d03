//! Processes that do not start: they say why, end with status 1, and change nothing.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::fleet::free_port;
use super::service::{Kind, Service, Setting};

/// What the process says when it does not start.
async fn refusal(kind: Kind, settings: &[Setting]) -> String {
    let (status, told) = kind.end_of(settings).await;
    assert_eq!(status.code(), Some(1), "{told}");
    told
}

fn free_ports() -> Vec<Setting> {
    vec![("GRPC__LISTEN", free_port()), ("HTTP__LISTEN", free_port())]
}

/// Settings of an orchestrator that would start.
fn orchestrator(data_dir: &Path) -> Vec<Setting> {
    let mut settings = free_ports();
    settings.push(("DATA_DIR", data_dir.display().to_string()));
    settings
}

/// Every file under `folder`, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), fs::read(path).expect("a file")));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(free_port()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (kind, key, told_key) in [
        (Kind::Orchestrator, "GRPC__LISTEN", "grpc.listen"),
        (Kind::Orchestrator, "HTTP__LISTEN", "http.listen"),
        (Kind::ComputeCore, "GRPC__LISTEN", "grpc.listen"),
        (Kind::TrainingWorker, "HTTP__LISTEN", "http.listen"),
    ] {
        let mut settings = match kind {
            Kind::Orchestrator => orchestrator(&folder.path().join("data")),
            Kind::ComputeCore => free_ports(),
            Kind::TrainingWorker => Vec::new(),
        };
        settings.retain(|(other, _)| *other != key);
        settings.push((key, address.clone()));
        let told = refusal(kind, &settings).await;
        assert!(
            told.contains(&format!("cannot listen on {address}")),
            "{told}"
        );
        assert!(
            told.contains(&format!("set {told_key} to another address")),
            "{told}"
        );
    }
    let store = folder.path().join("data/runs.sqlite");
    assert!(!store.exists(), "a run store was made");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data_dir = file.path().join("data");
    let told = refusal(Kind::Orchestrator, &orchestrator(&data_dir)).await;
    let beginning = format!("data directory {} cannot be written to", data_dir.display());
    assert!(
        told.contains(&beginning) && told.contains("set data_dir"),
        "{told}"
    );
}

#[tokio::test]
async fn what_only_a_trial_uses_is_refused_in_production() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = orchestrator(folder.path());
    settings.extend([
        ("ARTIFACTS__BUCKET", "artifacts".to_owned()),
        ("AWS__REGION", "eu-west-2".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("APP_ENV", "production".to_owned()),
    ]);
    let told = refusal(Kind::Orchestrator, &settings).await;
    assert!(told.contains("only LocalStack takes"), "{told}");
}

#[tokio::test]
async fn a_second_orchestrator_in_one_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let settings = orchestrator(&data_dir);
    let log = folder.path().join("first.log");
    let first = Service::start(Kind::Orchestrator, settings.clone(), log).await;
    let before = contents(&data_dir);
    let told = refusal(Kind::Orchestrator, &settings).await;
    let expected = format!(
        "data directory {} is in use by another orchestrator",
        data_dir.display()
    );
    assert!(told.contains(&expected), "{told}");
    assert!(contents(&data_dir) == before, "the data directory changed");
    assert!(first.get("/ready").await.0.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_unknown_setting_is_refused_with_the_known_ones() {
    for (kind, key, known) in [
        (
            Kind::Orchestrator,
            "GRPC__LISTN",
            "`listen` or `unix_socket`",
        ),
        (Kind::ComputeCore, "ENGINE__CACHE", "`cache_mib`"),
        (Kind::TrainingWorker, "LEASE__TLL", "`ttl`"),
    ] {
        let told = refusal(kind, &[(key, "1".to_owned())]).await;
        let unknown = key.split("__").last().unwrap().to_lowercase();
        assert!(told.contains(&format!("`{unknown}`")), "{told}");
        assert!(told.contains(known), "{told}");
        assert!(told.contains("environment variable"), "{told}");
        assert!(!told.contains("Caused by"), "told twice: {told}");

        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        let (table, _) = key.split_once("__").unwrap();
        let text = format!("[{}]\n{unknown} = 1\n", table.to_lowercase());
        fs::write(file.path(), text).unwrap();
        let mut command = kind.command(&[]);
        command
            .arg("--config")
            .arg(file.path())
            .stdout(Stdio::null());
        let output = command.output().await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(known), "{told}");
        let name = file.path().file_name().unwrap().to_str().unwrap();
        assert!(told.contains(name), "{told}");
    }
}

#[tokio::test]
async fn a_setting_out_of_range_is_refused_with_what_would_be_accepted() {
    let told = refusal(Kind::TrainingWorker, &[("LEASE__TTL", "10ms".to_owned())]).await;
    assert!(told.contains("lease.ttl is 10ms; must be 1s to"), "{told}");
}

#[tokio::test]
async fn a_name_of_digits_alone_is_a_name() {
    let taken = TcpListener::bind(free_port()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = [("ID", "0123".to_owned()), ("HTTP__LISTEN", address)];
    let told = refusal(Kind::TrainingWorker, &settings).await;
    assert!(told.contains("cannot listen on"), "{told}");
}

#[tokio::test]
async fn an_address_of_no_run_store_is_told_once_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = orchestrator(folder.path());
    settings.push(("STORE__URL", "mysql://host/runs".to_owned()));
    let told = refusal(Kind::Orchestrator, &settings).await;
    assert!(told.contains("store.url: "), "{told}");
    let times = |line: &str| line.matches("mysql://").count();
    assert!(told.lines().all(|line| times(line) <= 1), "{told}");
    assert!(!told.contains("Caused by"), "{told}");
}
