//! What the events of a run add up to.

use std::time::Duration;

use client::v1::event::{Kind, RoundCommitted};
use client::{RunState, v1};

use crate::human::{bytes, counted, loss, measured, percent, printable, span};

/// What a watched run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The last state that was told; `None` when none was.
    pub state: Option<RunState>,
    /// Why, for a person.
    pub reason: String,
    /// The last committed round.
    pub last_round: Option<RoundResult>,
    /// The published model as `NAME@VERSION`.
    pub model: Option<String>,
}

/// How good a round's model is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundResult {
    /// From 1.
    pub round: u32,
    /// On the test rows.
    pub accuracy: Option<f64>,
    /// On the test rows, in nats.
    pub loss: f64,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A round is done, as rounds are.
    Round(String),
    /// A person would want to know.
    Notable(String),
}

/// Follows a run.
#[derive(Debug)]
pub(super) struct Tally {
    rounds: u32,
    open: OpenRound,
    outcome: Outcome,
    last_duration: Option<Duration>,
}

#[derive(Debug, Default)]
struct OpenRound {
    cohort: u32,
    accepted: u32,
    refused: u32,
    bytes: u64,
}

impl Tally {
    pub(super) fn new(rounds: u32) -> Self {
        Self {
            rounds,
            open: OpenRound::default(),
            outcome: Outcome {
                state: None,
                reason: String::new(),
                last_round: None,
                model: None,
            },
            last_duration: None,
        }
    }

    pub(super) fn rounds_committed(&self) -> u32 {
        self.outcome.last_round.map_or(0, |last| last.round)
    }

    pub(super) fn outcome(self) -> Outcome {
        self.outcome
    }

    /// Counts one event, and says what is worth telling of it.
    pub(super) fn take(&mut self, event: &v1::Event) -> Option<News> {
        match event.kind.as_ref()? {
            Kind::RunStateChanged(change) => self.change_state(change.state(), &change.reason),
            Kind::RoundOpened(opened) => {
                self.open = OpenRound {
                    cohort: opened.cohort,
                    ..OpenRound::default()
                };
                None
            }
            Kind::UpdateAccepted(update) => {
                self.open.accepted += 1;
                self.open.bytes += update.bytes;
                None
            }
            Kind::UpdateRefused(_) => {
                self.open.refused += 1;
                None
            }
            Kind::TaskFailed(task) => Some(notable(format!(
                "round {}: {} failed on {} in attempt {}: {}",
                task.round, task.client, task.worker, task.attempt, task.message
            ))),
            Kind::RoundCommitted(round) => Some(self.commit(round)),
            Kind::RoundAbandoned(round) => {
                let line = format!("round {}: abandoned: {}", round.round, round.reason);
                Some(notable(line))
            }
            Kind::ModelPublished(published) => {
                let model = published.model.as_ref()?;
                let name = format!("{}@{}", model.name, model.version);
                let line = format!("published {name}");
                self.outcome.model = Some(name);
                Some(notable(line))
            }
            Kind::Stalled(stalled) => Some(notable(format!(
                "round {}: waits for the {}: {}",
                stalled.round, stalled.waiting_for, stalled.message
            ))),
        }
    }

    fn change_state(&mut self, state: v1::RunState, reason: &str) -> Option<News> {
        let state = RunState::try_from(state).ok()?;
        self.outcome.state = Some(state);
        reason.clone_into(&mut self.outcome.reason);
        let because = if reason.is_empty() { "" } else { ": " };
        Some(notable(format!("run is {state}{because}{reason}")))
    }

    fn commit(&mut self, round: &RoundCommitted) -> News {
        let duration = Duration::from_millis(round.duration_ms);
        self.last_duration = Some(duration);
        self.outcome.last_round = Some(RoundResult {
            round: round.round,
            accuracy: round.accuracy,
            loss: round.loss,
        });
        // Someone who watches from the middle of a round has not seen it open.
        let cohort = self.open.cohort.max(round.accepted);
        News::Round(format!(
            "round {}/{}: {}, {}/{}, {} refused, {}, {}",
            round.round,
            self.rounds,
            measured(round.accuracy, Some(round.loss)),
            round.accepted,
            counted(cohort.into(), "client"),
            round.refused,
            bytes(round.update_bytes),
            span(duration)
        ))
    }

    /// The last round's result and the open round's progress, on one line.
    pub(super) fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(last) = self.outcome.last_round {
            if last.accuracy.is_some() {
                parts.push(format!("accuracy {}", percent(last.accuracy)));
            }
            parts.push(format!("loss {}", loss(Some(last.loss))));
        }
        parts.push(format!(
            "clients {}/{}",
            self.open.accepted, self.open.cohort
        ));
        if self.open.refused > 0 {
            parts.push(format!("refused {}", self.open.refused));
        }
        parts.push(bytes(self.open.bytes));
        if let Some(duration) = self.last_duration {
            parts.push(format!("{} a round", span(duration)));
        }
        parts.join("  ")
    }
}

fn notable(line: impl AsRef<str>) -> News {
    News::Notable(printable(line.as_ref()))
}
