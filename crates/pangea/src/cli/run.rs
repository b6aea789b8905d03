//! `pangea runs`, `pangea run` and what can be asked of a run.

mod export;
pub(super) mod lineage;

use clap::{Args, Subcommand};
use client::v1;

use super::Session;
use crate::human::{ago, bytes, loss, percent, span};
use crate::json;
use crate::table::Side::{Left, Right};
use crate::table::{Table, facts};

/// Rounds that are shown of a run; an export has them all.
const ROUNDS_SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Run {
    #[command(subcommand)]
    command: Option<Command>,
    /// The run: its id, the beginning of one, or `latest`
    #[arg(required = true)]
    run: Option<String>,
    /// Show what each committed model is made of, from the last one back to every update
    #[arg(long)]
    lineage: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write what each round did, as CSV or JSON
    Export(export::Export),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// The run: its id, the beginning of one, or `latest`
    run: String,
}

pub(super) async fn list(session: &mut Session) -> anyhow::Result<()> {
    let runs = session.client().runs().await?;
    let mut table = Table::new([
        ("RUN", Left),
        ("NAME", Left),
        ("STATE", Left),
        ("ROUNDS", Right),
        ("ACCURACY", Right),
        ("LOSS", Right),
        ("MODEL", Left),
        ("SUBMITTED", Left),
    ]);
    for run in &runs {
        table.row([
            run.run.clone(),
            run.name.clone(),
            json::state(run.state()).to_owned(),
            rounds_of(run),
            percent(run.accuracy),
            loss(run.loss),
            model_of(run),
            ago(session.now, run.created_at_ms),
        ]);
    }
    let shapes: Vec<_> = runs.iter().map(json::Run::from).collect();
    session.output.show(table, &shapes)?;
    Ok(())
}

impl Run {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        match (self.command, self.run) {
            (Some(Command::Export(export)), _) => export.run(session).await,
            (None, run) if self.lineage => lineage::show(session, &run.unwrap_or_default()).await,
            (None, run) => show(session, &run.unwrap_or_default()).await,
        }
    }
}

async fn show(session: &mut Session, run: &str) -> anyhow::Result<()> {
    let client = session.client();
    let run = client.find_run(run).await?;
    let rounds = client.rounds(&run.run).await?;
    let mut text = facts([
        ("run", run.run.clone()),
        ("job", run.name.clone()),
        ("state", json::state(run.state()).to_owned()),
        ("reason", run.reason.clone()),
        ("rounds", rounds_of(&run)),
        ("accuracy", percent(run.accuracy)),
        ("loss", loss(run.loss)),
        ("model", model_of(&run)),
        ("submitted", ago(session.now, run.created_at_ms)),
        ("ended", ago(session.now, run.finished_at_ms)),
        ("job digest", run.job_digest.clone()),
        ("data digest", run.dataset_digest.clone()),
    ]);
    let hidden = rounds.len().saturating_sub(ROUNDS_SHOWN);
    if hidden > 0 {
        text.push_str(&format!(
            "\n\nthe last {ROUNDS_SHOWN} of {} rounds:",
            rounds.len()
        ));
    }
    if !rounds.is_empty() {
        text.push_str(&format!("\n\n{}", round_table(&rounds[hidden..])));
    }
    session.output.show(text, &json::Run::from(&run))?;
    Ok(())
}

fn round_table(rounds: &[v1::Round]) -> Table {
    let mut table = Table::new([
        ("ROUND", Right),
        ("PHASE", Left),
        ("ACCURACY", Right),
        ("LOSS", Right),
        ("TRAIN LOSS", Right),
        ("ACCEPTED", Right),
        ("REFUSED", Right),
        ("UPDATES", Right),
        ("TOOK", Right),
    ]);
    for round in rounds {
        let (accepted, refused) = verdicts(round);
        let took = round.closed_at_ms.checked_sub(round.opened_at_ms);
        let took = took.map(std::time::Duration::from_millis);
        table.row([
            round.round.to_string(),
            round.phase.clone(),
            percent(round.accuracy),
            loss(round.loss),
            loss(round.train_loss),
            format!("{accepted}/{}", round.cohort.len()),
            refused.to_string(),
            bytes(round.update_bytes),
            took.map_or_else(String::new, span),
        ]);
    }
    table
}

impl Which {
    pub(super) async fn cancel(self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client();
        let run = client.find_run(&self.run).await?;
        told(session, &client.cancel(&run.run).await?)
    }

    pub(super) async fn pause(self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client();
        let run = client.find_run(&self.run).await?;
        told(session, &client.pause(&run.run).await?)
    }

    pub(super) async fn resume(self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client();
        let run = client.find_run(&self.run).await?;
        told(session, &client.resume(&run.run).await?)
    }
}

fn told(session: &mut Session, run: &v1::Run) -> anyhow::Result<()> {
    let text = format!("run {} is {}", run.run, json::state(run.state()));
    session.output.show(text, &json::Run::from(run))?;
    Ok(())
}

fn rounds_of(run: &v1::Run) -> String {
    match &run.job {
        Some(job) => format!("{}/{}", run.rounds_committed, job.rounds),
        None => run.rounds_committed.to_string(),
    }
}

fn model_of(run: &v1::Run) -> String {
    run.model.as_ref().map_or_else(String::new, |model| {
        format!("{}@{}", model.name, model.version)
    })
}

/// Updates that count, and reports that do not.
fn verdicts(round: &v1::Round) -> (usize, usize) {
    let accepted = round
        .updates
        .iter()
        .filter(|update| update.accepted)
        .count();
    (accepted, round.updates.len() - accepted)
}
