//! What can go wrong between a user and the orchestrator.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use federation::Digest;
use proto::fault;
use thiserror::Error;
use tonic::{Code, ConnectError, Status};

use crate::{Client, ModelRef};

/// Why a call did not do what was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no connection and none can be made.
    #[error(
        "nobody answers at {address} (is the orchestrator running? `pangea up` starts one): {cause}"
    )]
    Unreachable {
        /// Where somebody should.
        address: String,
        /// What connecting came to.
        cause: String,
    },
    /// The connection ended under a call.
    #[error("the connection to {address} broke: {cause}")]
    Broken {
        /// Where it led.
        address: String,
        /// How it ended.
        cause: String,
    },
    /// The orchestrator answered that it will not, or cannot.
    #[error("{message}{}", in_brackets(.reason.as_deref()))]
    Refused {
        /// For programs, coarsely.
        code: Code,
        /// For a person.
        message: String,
        /// The reason in the answer's `ErrorInfo`.
        reason: Option<String>,
    },
    /// The answer lacks what it must have.
    #[error("the orchestrator's answer has no {what}; is it of another version?")]
    Incomplete {
        /// What is not there.
        what: &'static str,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {cause}", .path.display())]
    File {
        /// What was tried, as in `read`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came of it.
        cause: io::Error,
    },
    /// What was downloaded is not the model.
    #[error("model {model} arrived as {actual} but is {expected}; nothing was written")]
    Changed {
        /// Which model.
        model: ModelRef,
        /// By the orchestrator's record.
        expected: Digest,
        /// Of what came.
        actual: Digest,
    },
    /// Events of a run are not there.
    #[error("run {run} went from event {cursor} to event {next}; those between are missing")]
    EventsMissing {
        /// Which run.
        run: String,
        /// The last one seen.
        cursor: u64,
        /// The one that followed.
        next: u64,
    },
    /// Watching was given up.
    #[error(
        "gave up watching run {run} after event {cursor}: no contact for {} s; {last}",
        .silence.as_secs()
    )]
    ContactLost {
        /// Which run.
        run: String,
        /// The last event seen, from which watching can go on.
        cursor: u64,
        /// For how long nothing was heard.
        silence: Duration,
        /// What the last attempt came to.
        last: Box<ClientError>,
    },
    /// No run has an id that begins so.
    #[error("no run has an id that begins with {text:?}; `pangea runs` lists them")]
    UnknownRun {
        /// What was given.
        text: String,
    },
    /// There is no run yet.
    #[error("there is no run yet; `pangea submit` starts one")]
    NoRuns,
    /// More than one run has an id that begins so.
    #[error("{count} runs have an id that begins with {text:?}, such as {first} and {second}")]
    AmbiguousRun {
        /// What was given.
        text: String,
        /// How many.
        count: usize,
        /// One of them.
        first: String,
        /// Another one.
        second: String,
    },
}

impl ClientError {
    /// `action` on `path` came to `cause`.
    pub(crate) fn file(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            cause,
        }
    }
}

impl Client {
    /// What a failed call means for the user.
    pub(crate) fn failed(&self, status: &Status) -> ClientError {
        let address = self.address.to_string();
        // Only a status that was made on this side has a source.
        let Some(source) = status.source() else {
            return ClientError::Refused {
                code: status.code(),
                message: status.message().to_owned(),
                reason: fault::reason(status),
            };
        };
        let causes = || std::iter::successors(Some(source), |&error| error.source());
        let cause = causes()
            .last()
            .map_or_else(|| status.to_string(), ToString::to_string);
        if causes().any(|error| error.is::<ConnectError>()) {
            ClientError::Unreachable { address, cause }
        } else {
            ClientError::Broken { address, cause }
        }
    }
}

impl ClientError {
    /// Whether the same call may succeed later: nobody was there, or it was not kept.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused { code, .. } => fault::is_transient(&Status::new(*code, "")),
            _ => false,
        }
    }
}

fn in_brackets(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
