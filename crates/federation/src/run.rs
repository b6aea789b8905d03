//! The states of a run and the ways between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Stored; nobody has looked at it.
    Pending,
    /// Its shards and its initial model are being made.
    Admitted,
    /// It could go on, but no worker is there.
    WaitingForWorkers,
    /// Rounds are being trained.
    Running,
    /// A person stopped it; its open round waits.
    Paused,
    /// All rounds are done, or a stop rule was met.
    Completed,
    /// It cannot go on.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// What a person can ask of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// End it.
    Cancel,
    /// Hold it.
    Pause,
    /// Let it go on.
    Resume,
}

/// A command that the run's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a run that is {state} cannot be {}", match .command {
    Command::Cancel => "cancelled",
    Command::Pause => "paused",
    Command::Resume => "resumed; only a paused run can",
})]
pub struct NotAllowed {
    /// What was asked.
    pub command: Command,
    /// Where the run is.
    pub state: RunState,
}

impl RunState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Admitted,
        Self::WaitingForWorkers,
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing will happen to the run any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The state after `command`; the same one when the command has been carried out already.
    ///
    /// # Errors
    ///
    /// [`NotAllowed`] when the run has ended, or was never paused.
    pub fn after(self, command: Command) -> Result<Self, NotAllowed> {
        match (command, self) {
            (Command::Cancel, Self::Cancelled) => Ok(Self::Cancelled),
            (Command::Pause, Self::Paused) => Ok(Self::Paused),
            (Command::Cancel, state) if !state.is_final() => Ok(Self::Cancelled),
            (Command::Pause, state) if !state.is_final() => Ok(Self::Paused),
            // A resumed run finds its place again by itself: admission is idempotent.
            (Command::Resume, Self::Paused) => Ok(Self::Admitted),
            (Command::Resume, Self::Admitted | Self::WaitingForWorkers | Self::Running) => Ok(self),
            _ => Err(NotAllowed {
                command,
                state: self,
            }),
        }
    }

    /// The word for the state, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Admitted => "admitted",
            Self::WaitingForWorkers => "waiting_for_workers",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no state of a run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no state of a run")]
pub struct UnknownState(pub String);

impl FromStr for RunState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_run_takes_no_command_but_its_own_again() {
        assert_eq!(
            RunState::Cancelled.after(Command::Cancel),
            Ok(RunState::Cancelled)
        );
        for command in [Command::Cancel, Command::Pause, Command::Resume] {
            let error = RunState::Completed.after(command).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("a run that is completed cannot be")
            );
        }
    }

    #[test]
    fn only_a_paused_run_resumes_and_a_running_one_does_not_mind() {
        assert_eq!(
            RunState::Paused.after(Command::Resume),
            Ok(RunState::Admitted)
        );
        assert_eq!(
            RunState::Running.after(Command::Resume),
            Ok(RunState::Running)
        );
        assert!(RunState::Failed.after(Command::Resume).is_err());
    }

    #[test]
    fn every_state_reads_back_its_word() {
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
