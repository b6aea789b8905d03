//! `pangea submit` and `pangea validate`.

use std::path::{Path, PathBuf};

use clap::Args;
use client::{JobSpec, job_file, random_key};

use super::{Session, watch};
use crate::exit::Exit;
use crate::human::{count, counted};
use crate::json;
use crate::output::{Format, note};
use crate::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct Submit {
    /// The job, in YAML or JSON
    job: PathBuf,
    /// Follow the run to its end
    #[arg(long)]
    watch: bool,
    /// The same key with the same job starts one run, however often it is said
    /// [default: a new one each time]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// The job, in YAML or JSON
    job: PathBuf,
}

impl Submit {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<Exit> {
        let job = read(&self.job)?;
        let key = self.idempotency_key.unwrap_or_else(random_key);
        let client = session.client();
        let submitted = client.submit(&job, key).await?;
        let existed = submitted.existed;
        let mut run = submitted.run;
        let how = if existed {
            "was started before"
        } else {
            "started"
        };
        let text = format!("run {} {how}", run.run);
        if session.output.format() == Format::Text {
            session.output.line(&text)?;
        }

        let mut exit = Exit::Done;
        if self.watch {
            let progress = Progress::on_stderr(job.rounds.get());
            exit = match watch::follow(&client, &run.run, 0, progress, |_event| Ok(())).await? {
                watch::Watched::ToItsEnd(outcome) => {
                    run = client.run(&run.run).await?;
                    if session.output.format() == Format::Text {
                        session.output.line(watch::conclusion(&outcome))?;
                    }
                    outcome.state.map_or(Exit::Failed, Exit::of)
                }
                watch::Watched::InPart => {
                    note(watch::goes_on(&run.run));
                    Exit::Interrupted
                }
            };
        }
        if session.output.format() == Format::Json {
            let run = (&run).into();
            session.output.json(&json::Submission { existed, run })?;
        }
        Ok(exit)
    }
}

impl Validate {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let job = read(&self.job)?;
        let file = self.job.display().to_string();
        // The rules need no orchestrator; what depends on the data set does.
        let answer = match &session.server {
            Some(_said) => Some(session.client().validate(&job).await?),
            None => None,
        };
        let text = match &answer {
            Some(answer) => format!(
                "{file}: accepted; {}, {} a round",
                counted(answer.parameters, "parameter"),
                counted(answer.cohort_size.into(), "client")
            ),
            None => format!(
                "{file}: accepted; at most {} rounds over {}",
                count(job.rounds.get().into()),
                counted(job.partition.clients.get().into(), "client")
            ),
        };
        let validation = json::Validation {
            file,
            job_digest: job.digest().to_string(),
            parameters: answer.map(|answer| answer.parameters),
            cohort_size: answer.map(|answer| answer.cohort_size),
        };
        session.output.show(text, &validation)?;
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<JobSpec> {
    let draft = job_file::read(path)?;
    Ok(job_file::check(draft, &path.display().to_string())?)
}
