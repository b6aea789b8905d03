//! One service as a process: started, announced, asked over HTTP, ended.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// Longer than anything that a test waits for takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long tests wait between two looks at something that tells of no change.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Orchestrator,
    ComputeCore,
    TrainingWorker,
}

/// A key as in `GRPC__LISTEN`, and its value.
pub(crate) type Setting = (&'static str, String);

/// A process that has announced itself. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Service {
    kind: Kind,
    settings: Vec<Setting>,
    log: PathBuf,
    child: Child,
    announced: String,
}

impl Kind {
    pub(crate) fn binary(self) -> &'static str {
        match self {
            Self::Orchestrator => "pangea-orchestrator",
            Self::ComputeCore => "pangea-compute-core",
            Self::TrainingWorker => "pangea-training-worker",
        }
    }

    fn prefix(self) -> String {
        self.binary().replace('-', "_").to_uppercase()
    }

    /// The process, not started yet. It sees nothing of this one's environment.
    pub(crate) fn command(self, settings: &[Setting]) -> Command {
        let path = Path::new(env!("CARGO_BIN_EXE_pangea")).with_file_name(self.binary());
        assert!(
            path.is_file(),
            "{} is not there; `cargo build --workspace --bins` builds it",
            path.display()
        );
        let mut command = Command::new(path);
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        for (key, value) in settings {
            command.env(format!("{}__{key}", self.prefix()), value);
        }
        command
    }

    /// Lets the process run to an end that it finds by itself: its status and its last words.
    pub(crate) async fn end_of(self, settings: &[Setting]) -> (ExitStatus, String) {
        let mut command = self.command(settings);
        let output = timeout(PATIENCE, command.output()).await;
        let output = output.expect("the process ends").expect("it runs");
        assert_eq!(output.stdout, b"", "it announced itself");
        (
            output.status,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

impl Service {
    /// Starts the process and returns when it has announced itself. Its log goes to `log`.
    pub(crate) async fn start(kind: Kind, settings: Vec<Setting>, log: PathBuf) -> Self {
        let (child, announced) = launch(kind, &settings, &log).await;
        Self {
            kind,
            settings,
            log,
            child,
            announced,
        }
    }

    /// Where it takes calls.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.address("gRPC ")
    }

    /// Where it answers operators.
    pub(crate) fn http(&self) -> SocketAddr {
        self.address("http://")
    }

    fn address(&self, mark: &str) -> SocketAddr {
        let (_, rest) = self.announced.split_once(mark).expect("an address");
        let address = rest.split([',', ' ']).next().expect("an address");
        address.parse().expect("an address")
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// Returns when `text` stands in the log.
    pub(crate) async fn until_logged(&self, text: &str) {
        let logged = async {
            while !self.log().contains(text) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let waited = timeout(PATIENCE, logged).await;
        waited.unwrap_or_else(|_| panic!("{text:?} was not logged:\n{}", self.log()));
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it was alive");
    }

    /// Asks it to end, as a supervisor does.
    pub(crate) fn ask_to_end(&self) {
        let id = self.child.id().expect("it is alive").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(sent.expect("kill runs").success(), "no signal was sent");
    }

    /// Returns when it has ended: its status, and how long that took.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("it ends").expect("a status");
        (status, started.elapsed())
    }

    /// Starts it again, at the addresses it had and with what it left.
    pub(crate) async fn start_again(&mut self) {
        let mut listen = vec![("HTTP__LISTEN", self.http())];
        if self.kind != Kind::TrainingWorker {
            listen.push(("GRPC__LISTEN", self.grpc()));
        }
        for (key, address) in listen {
            self.settings.retain(|(other, _)| *other != key);
            self.settings.push((key, address.to_string()));
        }
        let (child, announced) = launch(self.kind, &self.settings, &self.log).await;
        assert_eq!(announced, self.announced);
        self.child = child;
    }

    /// The head and the body of its answer over HTTP.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        let asked = async {
            let mut stream = TcpStream::connect(self.http()).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(PATIENCE, asked).await.expect("an answer in time");
        let answer = answer.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_owned(), body.to_owned())
    }
}

async fn launch(kind: Kind, settings: &[Setting], log: &Path) -> (Child, String) {
    let mut command = kind.command(settings);
    let file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .expect("a file for the log");
    command.stdout(Stdio::piped()).stderr(file);
    let mut child = command.spawn().expect("the process starts");
    let stdout = BufReader::new(child.stdout.take().expect("its output"));
    let line = timeout(PATIENCE, stdout.lines().next_line()).await;
    let line = line.expect("an announcement in time").expect("text");
    let announced = line.unwrap_or_else(|| {
        let log = fs::read_to_string(log).unwrap_or_default();
        panic!("{} ended before it announced itself:\n{log}", kind.binary())
    });
    (child, announced)
}
