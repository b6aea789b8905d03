//! One service as a process: started, announced, asked over HTTP, ended.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// Longer than anything that a test waits for takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How long tests wait between two looks at something that tells of no change.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Orchestrator,
    ComputeCore,
    TrainingWorker,
}

/// Variables that mean the same to programs of others, and so have no prefix of ours.
const EVERYBODYS: [&str; 7] = [
    "APP_",
    "AWS_",
    "LD_",
    "LOG_",
    "OTEL_",
    "PROMETHEUS_",
    "SENTRY_",
];

/// A key as in `GRPC__LISTEN`, or a variable of everybody's, and its value.
pub(crate) type Setting = (&'static str, String);

/// A process that has announced itself. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Service {
    kind: Kind,
    /// A program that becomes the service, and its arguments; none for the service itself.
    before: Vec<String>,
    settings: Vec<Setting>,
    log: PathBuf,
    child: Child,
    announced: Announced,
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
        self.command_by(&[], settings)
    }

    /// A program that becomes the process, which it is told as its last argument.
    fn command_by(self, before: &[String], settings: &[Setting]) -> Command {
        let path = Path::new(env!("CARGO_BIN_EXE_pangea")).with_file_name(self.binary());
        assert!(
            path.is_file(),
            "{} is not there; `cargo build --workspace --bins` builds it",
            path.display()
        );
        let mut command = match before {
            [] => Command::new(path),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(path);
                command
            }
        };
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        self.set(&mut command, settings);
        command
    }

    /// Writes settings into a process's environment.
    pub(crate) fn set(self, command: &mut Command, settings: &[Setting]) {
        for (key, value) in settings {
            let everybodys = EVERYBODYS.iter().any(|prefix| key.starts_with(prefix));
            if everybodys && !key.contains("__") {
                command.env(key, value);
            } else {
                command.env(format!("{}__{key}", self.prefix()), value);
            }
        }
    }

    /// Lets the process run to an end that it finds by itself: its status and its last words.
    pub(crate) async fn end_of(self, settings: &[Setting]) -> (ExitStatus, String) {
        let mut command = self.command(settings);
        let output = timeout(PATIENCE, command.output()).await;
        let output = output.expect("the process ends").expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.lines().find_map(Announced::read), None);
        (
            output.status,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

impl Service {
    /// Starts the process and returns when it has announced itself. Its log goes to `log`.
    pub(crate) async fn start(kind: Kind, settings: Vec<Setting>, log: PathBuf) -> Self {
        Self::start_by(Vec::new(), kind, settings, log).await
    }

    /// Starts a program that becomes the process, which it is told as its last argument.
    pub(crate) async fn start_by(
        before: Vec<String>,
        kind: Kind,
        settings: Vec<Setting>,
        log: PathBuf,
    ) -> Self {
        let (child, announced) = launch(kind, &before, &settings, &log).await;
        Self {
            kind,
            before,
            settings,
            log,
            child,
            announced,
        }
    }

    /// Its number, while it lives.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it is alive")
    }

    /// Where it takes calls.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.announced.grpc.expect("it takes calls")
    }

    /// Where it answers operators.
    pub(crate) fn http(&self) -> SocketAddr {
        self.announced.http
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// Returns when `text` stands in the log.
    pub(crate) async fn until_logged(&self, text: &str) {
        until_logged(&self.log, text).await;
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it was alive");
    }

    /// Asks it to end, as a supervisor does.
    pub(crate) fn ask_to_end(&self) {
        let id = self.id().to_string();
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
        let (child, announced) = launch(self.kind, &self.before, &self.settings, &self.log).await;
        assert_eq!(announced, self.announced);
        self.child = child;
    }

    /// The head and the body of its answer over HTTP.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        get(self.http(), path).await
    }
}

/// Returns when `text` stands in `log`, which may be a file that is not there yet.
pub(crate) async fn until_logged(log: &Path, text: &str) {
    let said = || fs::read_to_string(log).unwrap_or_default();
    let logged = async {
        while !said().contains(text) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = timeout(PATIENCE, logged).await;
    waited.unwrap_or_else(|_| panic!("{text:?} was not logged:\n{}", said()));
}

/// The head and the body of what answers at `address`.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
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

/// What a process said when it began to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Announced {
    grpc: Option<SocketAddr>,
    http: SocketAddr,
}

impl Announced {
    /// From one line of a log, if it is the one.
    fn read(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let address = |key: &str| line[key].as_str()?.parse().ok();
        line["message"]
            .as_str()?
            .ends_with(" answers")
            .then_some(())?;
        Some(Self {
            grpc: address("grpc"),
            http: address("http")?,
        })
    }
}

async fn launch(
    kind: Kind,
    before: &[String],
    settings: &[Setting],
    log: &Path,
) -> (Child, Announced) {
    let mut command = kind.command_by(before, settings);
    let open = || {
        let mut file = OpenOptions::new();
        file.create(true).append(true).open(log).expect("a log")
    };
    let (file, before) = (open(), fs::metadata(log).expect("a log").len());
    command.stdout(file).stderr(open());
    let mut child = command.spawn().expect("the process starts");
    let announced = async {
        loop {
            let text = fs::read(log).expect("a log");
            let new = String::from_utf8_lossy(&text[usize::try_from(before).expect("small")..]);
            if let Some(announced) = new.lines().find_map(Announced::read) {
                return announced;
            }
            let ended = child.try_wait().expect("a status");
            assert!(
                ended.is_none(),
                "{} ended before it announced itself:\n{new}",
                kind.binary()
            );
            tokio::time::sleep(LOOK).await;
        }
    };
    let announced = timeout(PATIENCE, announced).await;
    (child, announced.expect("an announcement in time"))
}
