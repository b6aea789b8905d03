//! A house of processes that a supervisor keeps running, and a person who wants a model from it.

use std::fs;
use std::path::{Path, PathBuf};

use client::{Address, Client, ClientError, ImportOptions, JobSpec, Patience, v1};
use futures::{StreamExt, TryStreamExt};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::service::{Kind, LOOK, Setting};
use crate::scene::{A_MINUTE, DIGITS, digits_options, job};

/// Rows of the digits that are used: little is to be learnt, and it is to be learnt fast.
const ROWS: usize = 120;

const JOB: &str = "\
name: survived
model: { kind: softmax_regression }
dataset:
  name: digits
  partition: { kind: iid, clients: 3 }
local:
  epochs: 1
  optimizer: { kind: sgd, learning_rate: 0.05 }
rounds: 2
seed: 7
publish_as: survived
";

/// How a process is started the first time, with its settings; afterwards it is the plain one.
pub(crate) type Start = Box<dyn Fn(Kind, &[Setting]) -> Command>;

/// A house in a folder.
pub(crate) struct Supervised {
    processes: JoinSet<()>,
    deaths: watch::Sender<u32>,
    folder: TempDir,
}

impl Supervised {
    /// Starts a house in `folder`, whose `first` is started in a way of its own.
    pub(crate) fn start(folder: TempDir, first: Option<(Kind, Start)>) -> Self {
        let mut house = Self {
            processes: JoinSet::new(),
            deaths: watch::Sender::new(0),
            folder,
        };
        let mut first = first;
        let parts = [
            (Kind::ComputeCore, "compute"),
            (Kind::Orchestrator, "orchestrator"),
            (Kind::TrainingWorker, "worker-1"),
            (Kind::TrainingWorker, "worker-2"),
        ];
        // One that is watched has no other beside it that might do its work.
        let alone = matches!(first, Some((Kind::TrainingWorker, _)));
        for (kind, name) in parts {
            if alone && name == "worker-2" {
                continue;
            }
            let settings = house.settings(kind, name);
            let begun = match first.take_if(|(its, _)| *its == kind) {
                Some((_, start)) => start(kind, &settings),
                None => kind.command(&settings),
            };
            house.keep(kind, name, begun, settings);
        }
        house
    }

    /// Keeps a process running, as a supervisor does.
    fn keep(&mut self, kind: Kind, name: &str, begun: Command, settings: Vec<Setting>) {
        let log = self.path(&format!("{name}.log"));
        let deaths = self.deaths.clone();
        self.processes.spawn(async move {
            let mut command = begun;
            loop {
                let log = || {
                    let mut file = fs::OpenOptions::new();
                    file.append(true).create(true).open(&log).expect("a log")
                };
                let mut child = command
                    .stdout(log())
                    .stderr(log())
                    .spawn()
                    .expect("it runs");
                child.wait().await.expect("a status");
                deaths.send_modify(|deaths| *deaths += 1);
                command = kind.command(&settings);
            }
        });
    }

    fn settings(&self, kind: Kind, name: &str) -> Vec<Setting> {
        let (orchestrator, compute) = (self.at("orchestrator"), self.at("compute"));
        let any_port = || "127.0.0.1:0".to_owned();
        let mut settings = vec![("HTTP__LISTEN", any_port())];
        match kind {
            Kind::Orchestrator => settings.extend([
                ("GRPC__LISTEN", any_port()),
                ("GRPC__UNIX_SOCKET", self.socket("orchestrator")),
                ("DATA_DIR", self.path("data").display().to_string()),
                ("COMPUTE", compute),
            ]),
            Kind::ComputeCore => settings.extend([
                ("GRPC__LISTEN", any_port()),
                ("GRPC__UNIX_SOCKET", self.socket("compute")),
            ]),
            Kind::TrainingWorker => settings.extend([
                ("ID", name.to_owned()),
                ("ORCHESTRATOR", orchestrator),
                ("COMPUTE", compute),
                ("LEASE__TTL", "1s".to_owned()),
            ]),
        }
        settings
    }

    /// What is called `name` in the folder; the orchestrator keeps its data in `data`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self, name: &str) -> String {
        self.path(&format!("{name}.sock")).display().to_string()
    }

    fn at(&self, name: &str) -> String {
        format!("unix:{}", self.socket(name))
    }

    /// Has a model made, whatever dies meanwhile, and says its digest.
    pub(crate) async fn train(&self) -> String {
        let rows = self.path("rows.csv");
        let digits = fs::read_to_string(DIGITS).expect("the digits");
        let digits: Vec<&str> = digits.lines().take(ROWS + 1).collect();
        fs::write(&rows, digits.join("\n") + "\n").expect("some rows");
        let address: Address = self.at("orchestrator").parse().expect("an address");
        let client = Client::connect(&address);
        let options = ImportOptions {
            replace: true,
            ..digits_options()
        };
        let job = job(JOB, &[]);
        persist(|| client.import_dataset(&rows, &options)).await;
        let run = persist(|| submit(&client, &job)).await;
        persist(|| watch_to_the_end(&client, &run)).await;
        let ended = persist(|| client.run(&run)).await;
        assert_eq!(ended.state(), v1::RunState::Completed, "{}", ended.reason);
        let rounds = persist(|| client.rounds(&run)).await;
        assert_eq!(rounds.len(), 2, "{rounds:?}\n{}", self.logs());
        let models = persist(|| client.models(None)).await;
        assert_eq!(models.len(), 1, "{models:?}");
        let model = self.path("model.safetensors");
        let name = "survived".parse().expect("a name");
        persist(|| async {
            // Left by an earlier attempt.
            drop(fs::remove_file(&model));
            client.download(&name, &model).await
        })
        .await;
        digest(&model)
    }
}

impl Supervised {
    /// How often a process ended.
    pub(crate) fn deaths(&self) -> u32 {
        *self.deaths.borrow()
    }

    /// Everything that the processes have logged.
    pub(crate) fn logs(&self) -> String {
        let names = ["orchestrator", "compute", "worker-1", "worker-2"];
        let log = |name| fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        names.map(log).join("\n")
    }

    /// Ends the processes, and leaves what they wrote.
    pub(crate) async fn end(mut self) -> TempDir {
        self.processes.shutdown().await;
        self.folder
    }
}

async fn submit(client: &Client, job: &JobSpec) -> Result<String, ClientError> {
    let submitted = client.submit(job, "once".to_owned()).await?;
    Ok(submitted.run.run)
}

async fn watch_to_the_end(client: &Client, run: &str) -> Result<(), ClientError> {
    let mut sequence = 0;
    let mut events = client.watch(run, 0, Patience::default()).boxed();
    while let Some(event) = events.try_next().await? {
        sequence += 1;
        assert_eq!(event.sequence, sequence, "a gap");
    }
    Ok(())
}

fn digest(file: &Path) -> String {
    federation::Digest::of(&fs::read(file).expect("a model")).to_string()
}

/// Asks until there is an answer: what a person does when a call breaks off.
async fn persist<T, F: Future<Output = Result<T, ClientError>>>(ask: impl Fn() -> F) -> T {
    let ends = Instant::now() + A_MINUTE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < ends, "{error}"),
        }
        sleep(LOOK).await;
    }
}
