//! States of runs.

use federation::run::RunState;

use super::InvalidMessage;
use crate::v1;

impl From<RunState> for v1::RunState {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Pending => Self::Pending,
            RunState::Admitted => Self::Admitted,
            RunState::WaitingForWorkers => Self::WaitingForWorkers,
            RunState::Running => Self::Running,
            RunState::Paused => Self::Paused,
            RunState::Completed => Self::Completed,
            RunState::Failed => Self::Failed,
            RunState::Cancelled => Self::Cancelled,
        }
    }
}

impl TryFrom<v1::RunState> for RunState {
    type Error = InvalidMessage;

    fn try_from(state: v1::RunState) -> Result<Self, InvalidMessage> {
        match state {
            v1::RunState::Pending => Ok(Self::Pending),
            v1::RunState::Admitted => Ok(Self::Admitted),
            v1::RunState::WaitingForWorkers => Ok(Self::WaitingForWorkers),
            v1::RunState::Running => Ok(Self::Running),
            v1::RunState::Paused => Ok(Self::Paused),
            v1::RunState::Completed => Ok(Self::Completed),
            v1::RunState::Failed => Ok(Self::Failed),
            v1::RunState::Cancelled => Ok(Self::Cancelled),
            v1::RunState::Unspecified => Err(InvalidMessage::missing("state")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_travels_there_and_back() {
        for state in RunState::ALL {
            assert_eq!(RunState::try_from(v1::RunState::from(state)), Ok(state));
        }
        assert!(RunState::try_from(v1::RunState::Unspecified).is_err());
    }
}
