//! A backend that goes away in the middle of a round, and comes back with what it keeps.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::fleet::{Fleet, Shape};
use super::kills::long_form;
use super::outages::dead_address;
use super::service::{Setting, until_logged};
use super::training::{ROUNDS, Training, undisturbed};
use crate::scene::A_MINUTE;

/// A server of one test's own. Dropping it kills it.
struct Server {
    script: PathBuf,
    ready: &'static str,
    port: u16,
    starts: u32,
    child: Child,
    folder: TempDir,
}

impl Server {
    async fn localstack() -> Self {
        Self::start("localstack", "Ready.").await
    }

    async fn postgres() -> Self {
        Self::start("postgresql", "ready to accept connections").await
    }

    async fn start(name: &str, ready: &'static str) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/backends");
        let (_, port) = dead_address()
            .rsplit_once(':')
            .map(|(host, port)| (host.to_owned(), port.parse()))
            .expect("a port");
        let port = port.expect("a port");
        let folder = tempfile::tempdir().expect("a folder");
        let script = scripts.join(format!("{name}.sh"));
        let child = launch(&script, &folder, port, 1);
        let server = Self {
            script,
            ready,
            port,
            starts: 1,
            child,
            folder,
        };
        server.until_ready().await;
        server
    }

    async fn start_again(&mut self) {
        self.starts += 1;
        self.child = launch(&self.script, &self.folder, self.port, self.starts);
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let log = self.folder.path().join(format!("{}.log", self.starts));
        until_logged(&log, self.ready).await;
    }

    /// Sends a signal and returns when the server has ended.
    async fn end(&mut self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(sent.expect("kill runs").success());
        let ended = timeout(A_MINUTE, self.child.wait()).await;
        ended.expect("it ends").expect("a status");
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn launch(script: &Path, folder: &TempDir, port: u16, starts: u32) -> Child {
    let log = File::create(folder.path().join(format!("{starts}.log"))).expect("a log");
    let mut command = Command::new(script);
    command
        .arg(folder.path().join("data"))
        .arg(port.to_string());
    command
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a log"))
        .stdout(log);
    command.kill_on_drop(true).spawn().expect("it starts")
}

fn on_amazon(server: &Server) -> Vec<Setting> {
    let text = str::to_owned;
    vec![
        ("ARTIFACTS__BUCKET", text("pangea-away")),
        ("ARTIFACTS__PATH_STYLE", text("true")),
        ("ARTIFACTS__CREATE", text("true")),
        ("QUEUE__NAME", text("pangea-away")),
        ("QUEUE__CREATE", text("true")),
        ("AWS__ENDPOINT", server.endpoint()),
        ("AWS__REGION", text("eu-west-2")),
        ("AWS_ACCESS_KEY_ID", text("test")),
        ("AWS_SECRET_ACCESS_KEY", text("test")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amazon_that_forgets_everything_is_filled_again() {
    if test_tools::localstack("an_amazon_that_forgets_everything_is_filled_again").is_none() {
        return;
    }
    let mut server = Server::localstack().await;
    let mut fleet = Fleet::start_on(Shape::default(), on_amazon(&server)).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    training.until_committed(2).await;
    fleet.until_busy(0).await;
    server.end("-KILL").await;
    server.start_again().await;
    assert_eq!(training.finish().await, *undisturbed().await);
    let log = fleet.orchestrator.log();
    for told in ["a queue of SQS is gone", "bucket made"] {
        assert!(log.contains(told), "{told:?} is not in the log");
    }
    fleet.end().await;
}

/// Takes PostgreSQL away in the middle of a round, by `signal`.
async fn without_postgres(signal: &str) {
    let mut server = Server::postgres().await;
    let store = format!("postgres://pangea@127.0.0.1:{}/postgres", server.port);
    let mut fleet = Fleet::start_on(Shape::default(), vec![("STORE__URL", store)]).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    training.until_committed(2).await;
    fleet.until_busy(0).await;
    server.end(signal).await;
    fleet.orchestrator.until_logged("run store").await;
    let away = if long_form() { 60 } else { 1 };
    tokio::time::sleep(Duration::from_secs(away)).await;
    server.start_again().await;
    assert_eq!(training.finish().await, *undisturbed().await);
    let again = |update: &client::v1::round::Update| !update.accepted;
    let rounds = training.rounds().await;
    assert!(
        !rounds.iter().flat_map(|round| &round.updates).any(again),
        "{rounds:?}"
    );
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_when_its_store_was_stopped_and_started() {
    if test_tools::postgres("a_run_goes_on_when_its_store_was_stopped_and_started").is_some() {
        without_postgres("-INT").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_when_its_store_was_killed_and_started() {
    if test_tools::postgres("a_run_goes_on_when_its_store_was_killed_and_started").is_some() {
        without_postgres("-KILL").await;
    }
}
