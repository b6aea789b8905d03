//! `pangea watch`, and how other commands follow a run.

use std::pin::pin;

use clap::Args;
use client::{Client, Patience, RunState, v1};
use futures::StreamExt;

use super::Session;
use crate::exit::Exit;
use crate::human::{counted, measured};
use crate::json;
use crate::output::{Format, note};
use crate::progress::{Outcome, Progress};

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The run: its id, the beginning of one, or `latest`
    run: String,
    /// Only what came after this event of the run
    #[arg(long, value_name = "CURSOR", default_value_t = 0)]
    from: u64,
}

/// How watching a run ended.
#[derive(Debug, PartialEq)]
pub enum Watched {
    /// With the run.
    ToItsEnd(Outcome),
    /// By Ctrl-C; the run goes on.
    InPart,
}

/// Shows the events of `run` after `cursor` on `progress`, and hands each one to `each`, until the
/// run or Ctrl-C ends it.
///
/// # Errors
///
/// [`client::ClientError`] when contact is lost for long, and what `each` returns.
pub async fn follow(
    client: &Client,
    run: &str,
    cursor: u64,
    mut progress: Progress,
    mut each: impl FnMut(v1::Event) -> anyhow::Result<()>,
) -> anyhow::Result<Watched> {
    let mut events = pin!(client.watch(run, cursor, Patience::default()));
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            // Without a handler Ctrl-C ends the process, as it does by itself.
            Ok(()) = &mut interrupted => {
                let _until_now = progress.finish();
                return Ok(Watched::InPart);
            }
        };
        let Some(event) = event else {
            break;
        };
        let event = event?;
        progress.take(&event);
        each(event)?;
    }
    let mut outcome = progress.finish();
    if !outcome.state.is_some_and(RunState::is_final) {
        // The run had ended before the cursor.
        let run = client.run(run).await?;
        outcome.state = RunState::try_from(run.state()).ok();
        outcome.reason = run.reason;
    }
    Ok(Watched::ToItsEnd(outcome))
}

impl Watch {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<Exit> {
        let client = session.client();
        let run = client.find_run(&self.run).await?;
        let rounds = run.job.as_ref().map_or(0, |job| job.rounds);
        let output = &mut session.output;
        let format = output.format();
        let progress = match format {
            Format::Text => Progress::on_stderr(rounds),
            Format::Json => Progress::silent(rounds),
        };
        let each = |event: v1::Event| {
            if format == Format::Json {
                output.json(&json::Event::from(event))?;
            }
            Ok(())
        };
        match follow(&client, &run.run, self.from, progress, each).await? {
            Watched::ToItsEnd(outcome) => {
                if format == Format::Text {
                    session.output.line(conclusion(&outcome))?;
                }
                Ok(outcome.state.map_or(Exit::Failed, Exit::of))
            }
            Watched::InPart => {
                note(goes_on(&run.run));
                Ok(Exit::Interrupted)
            }
        }
    }
}

/// What a run came to, in a line.
pub(super) fn conclusion(outcome: &Outcome) -> String {
    let state = outcome.state.map_or("over", RunState::as_str);
    let mut text = format!("run {state}");
    if let Some(last) = outcome.last_round {
        text.push_str(&format!(
            " after {}: {}",
            counted(last.round.into(), "round"),
            measured(last.accuracy, Some(last.loss))
        ));
    }
    if let Some(model) = &outcome.model {
        text.push_str(&format!("; published as {model}"));
    }
    if outcome.state != Some(RunState::Completed) && !outcome.reason.is_empty() {
        text.push_str(&format!("; {}", outcome.reason));
    }
    text
}

pub(super) fn goes_on(run: &str) -> String {
    format!("run {run} goes on; `pangea watch {run}` follows it, `pangea cancel {run}` ends it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::RoundResult;

    #[test]
    fn the_conclusion_says_how_good_the_model_is_and_where() {
        let mut outcome = Outcome {
            state: Some(RunState::Completed),
            reason: "all rounds are done".into(),
            last_round: Some(RoundResult {
                round: 20,
                accuracy: Some(0.958),
                loss: 0.1512,
            }),
            model: Some("digits@3".into()),
        };
        assert_eq!(
            conclusion(&outcome),
            "run completed after 20 rounds: accuracy 95.8 %, loss 0.1512; published as digits@3"
        );
        outcome.state = Some(RunState::Failed);
        outcome.reason = "no data".into();
        outcome.last_round = None;
        outcome.model = None;
        assert_eq!(conclusion(&outcome), "run failed; no data");
    }
}
