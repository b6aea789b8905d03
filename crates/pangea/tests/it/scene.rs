//! A house for one test, and what tests do with it: submit, watch, look into its files.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::v1::event::Kind;
use client::{
    Client, ClientError, Content, ImportOptions, JobSpec, Patience, job_file, random_key, v1,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use orchestrator::datasets::split::split;
use pangea::house::{self, House, Plan, Ports};
use telemetry::Host;
use telemetry::config::environment::Environment;
use tempfile::TempDir;

/// Longer than anything in these tests takes, on a slow machine too.
pub(crate) const A_MINUTE: Duration = Duration::from_secs(60);

pub(crate) const DIGITS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/digits/digits.csv"
);

/// The job of `pangea demo`.
pub(crate) const DIGITS_JOB: &str = include_str!("../../../../examples/digits/job.yaml");

/// A job that takes little time.
pub(crate) const SHORT_JOB: &str = "\
name: short
model: { kind: mlp, hidden: [16], activation: relu }
dataset:
  name: digits
  partition: { kind: dirichlet, alpha: 0.5, clients: 4 }
local:
  epochs: 1
  optimizer: { kind: sgd, learning_rate: 0.05, momentum: 0.9 }
rounds: 4
seed: 7
";

/// What `future` gives, if it does so within `patience`.
pub(crate) async fn within<T>(patience: Duration, future: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(patience, future).await;
    answer.unwrap_or_else(|_elapsed| panic!("nothing came in {} s", patience.as_secs()))
}

/// `text` with each part replaced by another.
pub(crate) fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    let mut changed = text.to_owned();
    for (part, replacement) in changes {
        assert!(changed.contains(part), "{part:?} is not in the text");
        changed = changed.replacen(part, replacement, 1);
    }
    changed
}

/// The job in `text`, after some changes.
pub(crate) fn job(text: &str, changes: &[(&str, &str)]) -> JobSpec {
    let draft = job_file::parse(&changed(text, changes), "job.yaml").expect("a job");
    job_file::check(draft, "job.yaml").expect("a job with values that are accepted")
}

/// A house with free ports in a folder of its own, and a client of it in this process.
pub(crate) struct Scene {
    pub(crate) dir: TempDir,
    pub(crate) house: House,
    pub(crate) client: Client,
}

impl Scene {
    /// A new house that knows the digits.
    pub(crate) async fn with_digits(workers: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let scene = Self::open(dir, workers).await;
        let options = digits_options();
        let imported = scene.client.import_dataset(Path::new(DIGITS), &options);
        within(A_MINUTE, imported).await.expect("a data set");
        scene
    }

    /// A house on what another one left.
    pub(crate) async fn open(dir: TempDir, workers: usize) -> Self {
        let house = House::start(plan(dir.path(), workers), unwatched());
        let house = within(A_MINUTE, house).await.expect("a house");
        let client = Client::connect(&house.address());
        Self { dir, house, client }
    }

    /// Takes the house down and leaves its folder.
    pub(crate) async fn close(self) -> TempDir {
        within(A_MINUTE, self.house.stop()).await;
        self.dir
    }

    /// Where the orchestrator takes calls from other processes.
    pub(crate) fn server(&self) -> String {
        let places = self.house.places();
        let grpc = places.iter().find(|place| place.service == "orchestrator");
        grpc.and_then(|place| place.grpc)
            .expect("a port")
            .to_string()
    }

    /// The file of an object.
    pub(crate) fn artifact(&self, key: &str) -> PathBuf {
        self.dir.path().join("artifacts").join(key)
    }

    pub(crate) async fn submit(&self, job: &JobSpec) -> String {
        let submitted = self.client.submit(job, random_key());
        within(A_MINUTE, submitted).await.expect("a run").run.run
    }

    pub(crate) fn watch(&self, run: &str, cursor: u64) -> Watching {
        let events = self.client.watch(run, cursor, Patience::default());
        Watching {
            events: events.boxed(),
            seen: Vec::new(),
        }
    }

    /// A run of `job` when it has ended.
    pub(crate) async fn train(&self, job: &JobSpec) -> v1::Run {
        let run = self.submit(job).await;
        self.ended(&run).await
    }

    /// The run when it has ended.
    pub(crate) async fn ended(&self, run: &str) -> v1::Run {
        self.watch(run, 0).rest().await;
        self.client.run(run).await.expect("a run")
    }

    /// The run when it has completed.
    pub(crate) async fn completed(&self, run: &str) -> v1::Run {
        let run = self.ended(run).await;
        assert_eq!(run.state(), v1::RunState::Completed, "{}", run.reason);
        run
    }

    /// The digest of the model after a run's last committed round.
    pub(crate) async fn digest(&self, run: &str) -> String {
        let rounds = self.client.rounds(run).await.expect("rounds");
        let mut digests = rounds.into_iter().map(|round| round.model_digest);
        let digest = digests.rfind(|digest| !digest.is_empty());
        digest.expect("a committed round")
    }

    /// The digest of the model that an undisturbed run of `job` makes.
    pub(crate) async fn undisturbed(&self, job: &JobSpec) -> String {
        let run = self.submit(job).await;
        self.completed(&run).await;
        self.digest(&run).await
    }
}

pub(crate) fn plan(data_dir: &Path, workers: usize) -> Plan {
    Plan {
        data_dir: data_dir.to_owned(),
        workers: NonZeroUsize::new(workers).expect("a worker"),
        ports: Ports::Free,
    }
}

/// A process that counts, and tells nobody.
pub(crate) fn unwatched() -> Host {
    house::host(Environment::read(|_variable| None)).expect("metrics")
}

/// As `pangea demo` imports them.
pub(crate) fn digits_options() -> ImportOptions {
    ImportOptions {
        name: "digits".to_owned(),
        content: Content::Table {
            label: "label".to_owned(),
            scaling: v1::Scaling::Standard,
        },
        test_fraction: 0.2,
        seed: 7,
        replace: false,
    }
}

/// The rows of the digits that `digits_options` hold out, as CSV.
pub(crate) fn held_out() -> String {
    let digits = std::fs::read_to_string(DIGITS).expect("the digits");
    let lines: Vec<&str> = digits.lines().collect();
    let options = digits_options();
    let split = split(lines.len() - 1, options.test_fraction, options.seed);
    let test = split.expect("a split").test;
    let rows = test.iter().map(|row| lines[*row as usize + 1]);
    let lines: Vec<&str> = std::iter::once(lines[0]).chain(rows).collect();
    lines.join("\n") + "\n"
}

/// The events of a run, as they come.
pub(crate) struct Watching {
    events: BoxStream<'static, Result<v1::Event, ClientError>>,
    pub(crate) seen: Vec<v1::Event>,
}

impl Watching {
    /// The next event that is `wanted`.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Kind) -> bool) -> Kind {
        let found = async {
            while let Some(event) = self.events.next().await {
                let event = event.expect("an event");
                self.seen.push(event.clone());
                if let Some(kind) = event.kind.filter(&wanted) {
                    return kind;
                }
            }
            panic!("the run ended without the event: {:#?}", self.seen.last());
        };
        within(A_MINUTE, found).await
    }

    /// What was seen and all that follows, when the run has ended.
    pub(crate) async fn rest(mut self) -> Vec<v1::Event> {
        let all = async {
            while let Some(event) = self.events.next().await {
                self.seen.push(event.expect("an event"));
            }
        };
        within(A_MINUTE, all).await;
        self.seen
    }

    /// The place of the last event that was seen.
    pub(crate) fn cursor(&self) -> u64 {
        self.seen.last().map_or(0, |event| event.sequence)
    }
}

/// The commit of `round`.
pub(crate) fn commit_of(round: u32) -> impl Fn(&Kind) -> bool {
    move |kind| matches!(kind, Kind::RoundCommitted(committed) if committed.round == round)
}

/// The change to `state`.
pub(crate) fn change_to(state: v1::RunState) -> impl Fn(&Kind) -> bool {
    move |kind| matches!(kind, Kind::RunStateChanged(change) if change.state() == state)
}

/// How many of the events are such.
pub(crate) fn count(events: &[v1::Event], such: impl Fn(&Kind) -> bool) -> usize {
    let kinds = events.iter().filter_map(|event| event.kind.as_ref());
    kinds.filter(|kind| such(kind)).count()
}

/// Changes the byte of a file that has this number.
pub(crate) fn flip(path: &Path, byte: usize) {
    let mut bytes = std::fs::read(path).expect("an object");
    bytes[byte] ^= 1;
    std::fs::write(path, bytes).expect("an object to write");
}
