//! `pangea demo`: trains a model on the bundled digits with the whole house in one process.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use client::{Client, Content, ImportOptions, JobDraft, ModelRef, RunState, job_file, v1};
use serde::Serialize;
use telemetry::config::LogConfig;
use telemetry::config::environment::Environment;
use telemetry::logs::{LogFormat, Output};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Session;
use super::up::listed;
use super::watch::{Watched, follow};
use crate::exit::Exit;
use crate::house::{self, House, Place, Plan, Ports};
use crate::human::percent;
use crate::output::note;
use crate::progress::{Outcome, Progress};

const DIGITS: &[u8] = include_bytes!("../../../../examples/digits/digits.csv");
const JOB: &str = include_str!("../../../../examples/digits/job.yaml");

/// How long a part of the house may take to say that it is well.
const HEALTH: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where the house keeps its things, and puts the model
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    data_dir: PathBuf,
    /// How many workers
    #[arg(long, value_name = "N", default_value = "2")]
    workers: NonZeroUsize,
    /// The seed of the job, in place of the one in its file
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Summary {
    run: String,
    rounds: u32,
    accuracy: Option<f64>,
    loss: f64,
    model: Model,
    seconds: f64,
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    version: u32,
    digest: String,
    path: PathBuf,
}

impl Demo {
    #[expect(
        clippy::disallowed_methods,
        reason = "a person is told how long the demo took"
    )]
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<Exit> {
        let started = Instant::now();
        let mut host = house::host(Environment::of_process())?;
        host.write_logs(&quiet(), Output::Stderr)?;
        let plan = Plan {
            data_dir: self.data_dir.clone(),
            workers: self.workers,
            ports: Ports::Free,
        };
        let house = House::start(plan, host).await?;
        let client = Client::connect(&house.address());
        let trained = self.train(&client).await?;
        let Trained { run, outcome } = match trained {
            Ok(trained) => trained,
            Err(run) => {
                house.stop().await;
                note(format_args!(
                    "run {run} stands still; `pangea up --data-dir {}` goes on with it",
                    self.data_dir.display()
                ));
                return Ok(Exit::Interrupted);
            }
        };
        if outcome.state != Some(RunState::Completed) {
            house.stop().await;
            bail!("the run did not complete: {}", outcome.reason);
        }
        let (model, path) = self.fetch(&client, &outcome).await?;
        let places = house.places();
        let addresses = answering(&places).await?;
        house.stop().await;
        let last = outcome.last_round.context("the run had no round")?;
        let summary = Summary {
            run,
            rounds: last.round,
            accuracy: last.accuracy,
            loss: last.loss,
            model: Model {
                name: model.name,
                version: model.version,
                digest: model.digest,
                path,
            },
            seconds: started.elapsed().as_secs_f64(),
            addresses,
        };
        session.output.show(told(&summary, &places), &summary)?;
        Ok(Exit::Done)
    }

    /// Imports the digits, submits the job and follows it; the run alone after Ctrl-C.
    async fn train(&self, client: &Client) -> anyhow::Result<Result<Trained, String>> {
        let mut csv = tempfile::Builder::new()
            .prefix("digits")
            .suffix(".csv")
            .tempfile()?;
        csv.write_all(DIGITS).context("write the digits")?;
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
        client.import_dataset(csv.path(), &options).await?;
        let mut draft: JobDraft = job_file::parse(JOB, "examples/digits/job.yaml")?;
        draft.seed = self.seed.unwrap_or(draft.seed);
        let job = job_file::check(draft, "examples/digits/job.yaml")?;
        let run = client.submit(&job, client::random_key()).await?.run.run;
        let progress = Progress::on_stderr(job.rounds.get());
        match follow(client, &run, 0, progress, |_event| Ok(())).await? {
            Watched::ToItsEnd(outcome) => Ok(Ok(Trained { run, outcome })),
            Watched::InPart => Ok(Err(run)),
        }
    }

    async fn fetch(
        &self,
        client: &Client,
        outcome: &Outcome,
    ) -> anyhow::Result<(v1::PublishedModel, PathBuf)> {
        let name = outcome
            .model
            .as_ref()
            .context("the run published no model")?;
        let model: ModelRef = name.parse()?;
        let path = std::path::absolute(self.data_dir.join(format!("{name}.safetensors")))?;
        let model = client.download(&model, &path).await?;
        Ok((model, path))
    }
}

/// The progress bar says what happens; the log only what goes wrong.
fn quiet() -> LogConfig {
    LogConfig {
        filter: "error".to_owned(),
        format: LogFormat::Text,
    }
}

struct Trained {
    run: String,
    outcome: Outcome,
}

fn told(summary: &Summary, places: &[Place]) -> String {
    format!(
        "accuracy {} on the held-out test set after {} rounds, in {:.1} s\n\
         model    {}@{} in {}\n\
         digest   {}\n\
         answered\n{}",
        percent(summary.accuracy),
        summary.rounds,
        summary.seconds,
        summary.model.name,
        summary.model.version,
        summary.model.path.display(),
        summary.model.digest,
        listed(places),
    )
}

/// The addresses of the parts, each of which said that it is well.
async fn answering(places: &[Place]) -> anyhow::Result<Vec<String>> {
    let mut addresses = Vec::new();
    for place in places {
        let asked = tokio::time::timeout(HEALTH, health(place.http)).await;
        let answer = asked.context("no answer in time").flatten();
        answer.with_context(|| format!("{} at http://{}", place.service, place.http))?;
        addresses.extend(place.grpc.map(|grpc| format!("grpc://{grpc}")));
        addresses.push(format!("http://{}", place.http));
    }
    Ok(addresses)
}

async fn health(http: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("unwell: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(())
}
