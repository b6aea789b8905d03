//! Who and what: identifiers that cannot be mistaken for each other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} id {text:?} is not {expected}")]
pub struct InvalidId {
    /// Which kind of id was expected.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
    /// What would be right.
    pub expected: &'static str,
}

/// One execution of a job. A `UUIDv7`; it enters no seed and no model byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text)
            .map(Self)
            .map_err(|_invalid| InvalidId {
                kind: "run",
                text: text.to_owned(),
                expected: "a UUID such as 0199f0c2-6a1e-7cc0-8000-2f5d9a1b3c4d",
            })
    }
}

/// A participant: a named partition of a data set, `client-0000` and on.
///
/// Clients are ordered by their number; aggregation folds in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client-{:04}", self.0)
    }
}

impl FromStr for ClientId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix("client-")
            .filter(|digits| digits.len() >= 4)
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| InvalidId {
                kind: "client",
                text: text.to_owned(),
                expected: "client- and a number of at least four digits, such as client-0007",
            })
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ClientId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

/// A worker process, by the name it gave itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub String);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One piece of work: a client's contribution to a round, in its n-th attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The run that wants the work.
    pub run: RunId,
    /// Its round, from 1.
    pub round: u32,
    /// The client whose data is trained on.
    pub client: ClientId,
    /// Counts dispatches of this work, from 1.
    pub attempt: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.run, self.round, self.client, self.attempt
        )
    }
}

impl FromStr for TaskId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            kind: "task",
            text: text.to_owned(),
            expected: "RUN/ROUND/CLIENT/ATTEMPT",
        };
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or_else(invalid);
        let id = Self {
            run: next()?.parse()?,
            round: next()?.parse().map_err(|_not_a_number| invalid())?,
            client: next()?.parse()?,
            attempt: next()?.parse().map_err(|_not_a_number| invalid())?,
        };
        if parts.next().is_some() {
            Err(invalid())
        } else {
            Ok(id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_reads_back_what_it_wrote() {
        let id = TaskId {
            run: RunId(Uuid::from_u128(7)),
            round: 3,
            client: ClientId(12),
            attempt: 2,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(format!("{id}/1").parse::<TaskId>().is_err());
    }

    #[test]
    fn clients_sort_by_number_and_print_with_four_digits() {
        assert_eq!(ClientId(7).to_string(), "client-0007");
        assert!(ClientId(9) < ClientId(10));
        assert!("client-7".parse::<ClientId>().is_err());
    }
}
