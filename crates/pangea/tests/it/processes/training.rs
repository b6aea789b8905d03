//! One job, trained by whoever is asked, and what is the same each time.

use std::path::Path;

use client::v1::event::Kind;
use client::{Client, ClientError, Content, ImportOptions, Patience, job_file, random_key, v1};
use futures::StreamExt;
use futures::stream::BoxStream;
use pangea::house::House;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::service::PATIENCE;
use crate::scene::{plan, unwatched};

/// Rounds of the job that most tests train.
pub(crate) const ROUNDS: u32 = 10;

const DIGITS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/digits/digits.csv"
);

/// Each task takes some tens of milliseconds: long enough to be hit in the middle.
const JOB: &str = "\
name: processes
model: { kind: mlp, hidden: [64], activation: relu }
dataset:
  name: digits
  partition: { kind: dirichlet, alpha: 0.5, clients: 6 }
local:
  steps: 200
  optimizer: { kind: sgd, learning_rate: 0.05, momentum: 0.9 }
seed: 7
publish_as: processes
";

/// The digests that a run leaves behind: of each round's model, and of the published one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    rounds: Vec<String>,
    published: String,
}

/// A run that was begun.
pub(crate) struct Training {
    pub(crate) client: Client,
    pub(crate) run: String,
    events: BoxStream<'static, Result<v1::Event, ClientError>>,
}

impl Training {
    /// Imports the digits and submits the job.
    pub(crate) async fn begin(client: Client, rounds: u32) -> Self {
        Self::of(client, &format!("{JOB}rounds: {rounds}\n")).await
    }

    /// Imports the digits and submits a job on them.
    pub(crate) async fn of(client: Client, job: &str) -> Self {
        let options = ImportOptions {
            name: "digits".to_owned(),
            content: Content::Table {
                label: "label".to_owned(),
                scaling: v1::Scaling::Standard,
            },
            test_fraction: 0.2,
            seed: 7,
            replace: false,
        };
        let imported = client.import_dataset(Path::new(DIGITS), &options).await;
        imported.expect("a data set");
        let draft = job_file::parse(job, "job").expect("a job");
        let job = job_file::check(draft, "job").expect("a job");
        let submitted = client.submit(&job, random_key()).await.expect("a run");
        let run = submitted.run.run;
        let events = client.watch(&run, 0, Patience::default()).boxed();
        Self {
            client,
            run,
            events,
        }
    }

    /// Returns when the round is committed.
    pub(crate) async fn until_committed(&mut self, round: u32) {
        let committed = async {
            while let Some(event) = self.events.next().await {
                if let Some(Kind::RoundCommitted(committed)) = event.expect("an event").kind
                    && committed.round == round
                {
                    return;
                }
            }
            panic!("the run ended before round {round} was committed");
        };
        let waited = timeout(PATIENCE, committed).await;
        waited.expect("the round is committed in time");
    }

    /// The rounds of the run as they stand.
    pub(crate) async fn rounds(&self) -> Vec<v1::Round> {
        self.client.rounds(&self.run).await.expect("rounds")
    }

    /// Follows the run to its end, which must be a good one.
    pub(crate) async fn finish(&mut self) -> Trace {
        let ended = async {
            while let Some(event) = self.events.next().await {
                event.expect("an event");
            }
        };
        timeout(PATIENCE, ended)
            .await
            .expect("the run ends in time");
        let run = self.client.run(&self.run).await.expect("the run");
        assert_eq!(run.state(), v1::RunState::Completed, "{}", run.reason);
        let rounds = self.rounds().await;
        Trace {
            rounds: rounds.into_iter().map(|round| round.model_digest).collect(),
            published: run.model.expect("a model").digest,
        }
    }
}

/// What the job leaves behind in one process, where nobody dies.
pub(crate) async fn undisturbed() -> &'static Trace {
    static UNDISTURBED: OnceCell<Trace> = OnceCell::const_new();
    UNDISTURBED.get_or_init(|| in_one_process(ROUNDS)).await
}

/// Trains the job in one process.
pub(crate) async fn in_one_process(rounds: u32) -> Trace {
    alone(&format!("{JOB}rounds: {rounds}\n")).await
}

/// Trains any job on the digits in one process.
pub(crate) async fn alone(job: &str) -> Trace {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::start(plan(&folder.path().join("data"), 1), unwatched());
    let house = house.await.expect("a house");
    let client = Client::connect(&house.address());
    let trace = Training::of(client, job).await.finish().await;
    house.stop().await;
    trace
}
