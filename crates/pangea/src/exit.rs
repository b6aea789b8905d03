//! What the exit status says.

use std::process::ExitCode;

use client::RunState;

/// How a command ended. The status 2, for a command line that cannot be read, is clap's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked; a watched run completed.
    Done,
    /// It did not; or a watched run failed.
    Failed,
    /// A watched run was cancelled.
    Cancelled,
    /// Ctrl-C ended the watching, and only that.
    Interrupted,
}

impl Exit {
    /// What the end of a watched run means.
    #[must_use]
    pub fn of(state: RunState) -> Self {
        match state {
            RunState::Failed => Self::Failed,
            RunState::Cancelled => Self::Cancelled,
            _ => Self::Done,
        }
    }

    /// The exit status of the process.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Cancelled => 3,
            // As shells say it: 128 and the number of SIGINT.
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_the_ends_of_a_run_apart_and_leaves_two_to_usage() {
        let ends = [RunState::Completed, RunState::Failed, RunState::Cancelled];
        assert_eq!(ends.map(|state| Exit::of(state).status()), [0, 1, 3]);
    }
}
