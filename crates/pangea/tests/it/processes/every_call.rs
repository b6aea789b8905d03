//! Whoever dies, and before whichever of its calls: the run finishes, with the same bytes.
//!
//! An undisturbed run says how many calls a service makes: statements of the run store, operations
//! on artifacts and on the queue, calls to other services. Then it dies before each of them in turn,
//! in a house of its own, and a supervisor starts it again. No call is named here, so a new one is
//! covered when it appears.

use std::fs;
use std::path::{Path, PathBuf};

use client::{Address, Client, ClientError, ImportOptions, JobSpec, Patience, v1};
use futures::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::doomed::{self, Doom};
use super::kills::long_form;
use super::service::{Kind, LOOK, Setting};
use crate::scene::{A_MINUTE, DIGITS, digits_options, job};

/// Houses at one time.
const AT_ONCE: usize = 3;

/// Deaths of each service in the short form, spread over its calls.
const SAMPLES: u64 = 6;

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

/// A house of processes in a folder, one of which may be doomed.
struct House {
    processes: JoinSet<()>,
    deaths: watch::Sender<u32>,
    folder: TempDir,
}

impl House {
    fn start(victim: Kind, before: Option<u64>) -> Self {
        let mut house = Self {
            processes: JoinSet::new(),
            deaths: watch::Sender::new(0),
            folder: tempfile::tempdir().expect("a folder"),
        };
        let doom = Doom {
            calls: house.calls(),
            before,
        };
        let parts = [
            (Kind::ComputeCore, "compute"),
            (Kind::Orchestrator, "orchestrator"),
            (Kind::TrainingWorker, "worker-1"),
            (Kind::TrainingWorker, "worker-2"),
        ];
        for (kind, name) in parts {
            // Of two workers one dies.
            let doom = (kind == victim && name != "worker-2").then(|| doom.clone());
            house.keep(kind, name, doom);
        }
        house
    }

    /// Keeps a process running, as a supervisor does.
    fn keep(&mut self, kind: Kind, name: &'static str, mut doom: Option<Doom>) {
        let settings = self.settings(kind, name);
        let log = self.folder.path().join(format!("{name}.log"));
        let deaths = self.deaths.clone();
        self.processes.spawn(async move {
            loop {
                let mut command = match &doom {
                    Some(doom) => doomed::command(kind, &settings, doom),
                    None => kind.command(&settings),
                };
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
                doom = None;
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self, name: &str) -> String {
        self.path(&format!("{name}.sock")).display().to_string()
    }

    fn at(&self, name: &str) -> String {
        format!("unix:{}", self.socket(name))
    }

    fn calls(&self) -> PathBuf {
        self.path("calls")
    }

    /// Has a model made, whatever dies meanwhile, and says its digest.
    async fn train(&self) -> String {
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
        assert_eq!(rounds.len(), 2);
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

/// How a house fared in which `victim` died before a call of its: the model's digest, and how often
/// anybody died.
async fn story(victim: Kind, before: Option<u64>) -> (String, u32, u64) {
    let house = House::start(victim, before);
    let model = timeout(A_MINUTE, house.train()).await;
    let model = model.unwrap_or_else(|_| panic!("{victim:?} before {before:?}: {}", house.logs()));
    let calls = fs::read_to_string(house.calls()).map_or(0, |calls| calls.lines().count() as u64);
    let deaths = *house.deaths.borrow();
    (model, deaths, calls)
}

impl House {
    fn logs(&self) -> String {
        let names = ["orchestrator", "compute", "worker-1", "worker-2"];
        let log = |name| fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        names.map(log).join("\n")
    }
}

async fn dies_before_every_call(victim: Kind) {
    let (undisturbed, deaths, calls) = story(victim, None).await;
    assert_eq!(deaths, 0);
    assert!(calls > 20, "{calls} calls");
    let step = if long_form() { 1 } else { calls / SAMPLES };
    let stories = stream::iter((1..=calls).step_by(usize::try_from(step).expect("small")))
        .map(|before| async move { (before, story(victim, Some(before)).await) })
        .buffer_unordered(AT_ONCE);
    let mut died = 0;
    let mut told = 0;
    let mut stories = std::pin::pin!(stories);
    while let Some((before, (model, deaths, _))) = stories.next().await {
        assert_eq!(model, undisturbed, "{victim:?} died before call {before}");
        assert!(deaths <= 1, "{victim:?} died {deaths} times");
        (died, told) = (died + deaths, told + 1);
    }
    // A run may take a few calls less than another: who waits less often asks less often.
    assert!(died * 4 >= told * 3, "{died} deaths in {told} houses");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_dies_before_any_of_its_calls() {
    dies_before_every_call(Kind::Orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_before_any_of_its_calls() {
    dies_before_every_call(Kind::TrainingWorker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compute_core_dies_before_any_of_its_calls() {
    dies_before_every_call(Kind::ComputeCore).await;
}
