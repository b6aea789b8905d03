//! The commands.

mod dataset;
mod demo;
mod gc;
mod generate;
mod job;
mod model;
mod replay;
mod run;
mod up;
mod watch;
mod whole_file;
mod worker;

use clap::{Parser, Subcommand};
use client::{Address, Client, Timestamp};

use crate::exit::Exit;
use crate::output::{Format, Output};

pub use watch::{Watched, follow};

/// Where the orchestrator is unless something else is said.
const DEFAULT_SERVER: &str = "localhost:50051";

/// Federated training: data sets and jobs in, models out.
#[derive(Debug, Parser)]
#[command(name = "pangea", version, propagate_version = true)]
pub struct Cli {
    /// The orchestrator, as host:port, http://host:port or unix:/path; several with commas between: the first that answers
    /// [default: http://localhost:50051]
    #[arg(long, global = true, env = "PANGEA_SERVER", hide_env_values = true)]
    #[arg(value_name = "ADDRESS", help_heading = "Global options")]
    server: Option<Address>,
    /// Who reads standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    #[arg(value_name = "FORMAT", help_heading = "Global options")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model on the bundled digits with the whole house in one process
    Demo(demo::Demo),
    /// Keep the whole house running in one process
    Up(up::Up),
    /// Register and look at data sets
    #[command(subcommand)]
    Dataset(dataset::Command),
    /// Start a run of a job
    Submit(job::Submit),
    /// Check a job and start nothing; asks the orchestrator too when one is named
    Validate(job::Validate),
    /// Follow a run to its end
    Watch(watch::Watch),
    /// List runs, the newest first
    Runs,
    /// Show a run or the lineage of its model, or export its rounds
    Run(run::Run),
    /// Make the model of a committed round again and compare it; status 1 when it is another one
    Replay(replay::Replay),
    /// End a run
    Cancel(run::Which),
    /// Hold a run
    Pause(run::Which),
    /// Let a paused run go on
    Resume(run::Which),
    /// Say what of the artifact store nobody needs any more, or remove it
    Gc(gc::Gc),
    /// List workers
    Workers,
    /// Have a worker finish what it has, then end
    Drain(worker::Drain),
    /// List the newest version of each model, or all versions of one
    Models(model::List),
    /// Fetch models
    #[command(subcommand)]
    Model(model::Command),
    /// Classify the rows of a CSV file
    Predict(model::Predict),
    /// Measure a model on the rows of a CSV file
    Evaluate(model::Evaluate),
    /// Have a model go on with a text, character by character
    Generate(generate::Generate),
}

/// What every command is given.
#[derive(Debug)]
struct Session {
    /// As said on the command line or in the environment.
    server: Option<Address>,
    output: Output,
    now: Timestamp,
}

impl Session {
    fn client(&self) -> Client {
        match &self.server {
            Some(server) => Client::connect(server),
            None => Client::connect(&Address::Tcp(DEFAULT_SERVER.to_owned())),
        }
    }
}

impl Cli {
    /// Does what the command line says, which was written at `now`.
    ///
    /// # Errors
    ///
    /// What stood in the way, for a person; an [`std::io::Error`] when standard output cannot be
    /// written.
    pub async fn run(self, now: Timestamp) -> anyhow::Result<Exit> {
        let mut session = Session {
            server: self.server,
            output: Output::stdout(self.output),
            now,
        };
        let session = &mut session;
        match self.command {
            Command::Demo(demo) => return demo.run(session).await,
            Command::Up(up) => up.run(session).await?,
            Command::Dataset(command) => command.run(session).await?,
            Command::Submit(submit) => return submit.run(session).await,
            Command::Validate(validate) => validate.run(session).await?,
            Command::Watch(watch) => return watch.run(session).await,
            Command::Runs => run::list(session).await?,
            Command::Run(run) => run.run(session).await?,
            Command::Replay(replay) => return replay.run(session).await,
            Command::Gc(gc) => gc.run(session).await?,
            Command::Cancel(which) => which.cancel(session).await?,
            Command::Pause(which) => which.pause(session).await?,
            Command::Resume(which) => which.resume(session).await?,
            Command::Workers => worker::list(session).await?,
            Command::Drain(drain) => drain.run(session).await?,
            Command::Models(list) => list.run(session).await?,
            Command::Model(command) => command.run(session).await?,
            Command::Predict(predict) => predict.run(session).await?,
            Command::Evaluate(evaluate) => evaluate.run(session).await?,
            Command::Generate(generate) => generate.run(session).await?,
        }
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests;
