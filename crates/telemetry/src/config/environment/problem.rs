//! A variable that cannot be read.

use std::fmt;

use crate::metrics::BadInput;

/// Most characters of a value that are told again; a whole file may have been pasted.
const TOLD_MAX: usize = 120;

/// What stands for a value that is a secret, or holds one.
const HIDDEN: &str = "<hidden>";

/// What is wrong with one variable, and what would be right. The default is used instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which variable.
    pub variable: &'static str,
    /// What it holds, cut to a readable length; not if it is a secret.
    pub value: String,
    /// What it may hold.
    pub accepted: String,
}

impl Problem {
    pub(super) fn new(variable: &'static str, value: &str, accepted: impl Into<String>) -> Self {
        // A URL with a user in it holds a password.
        let secret = super::SECRETS.contains(&variable) || value.contains('@');
        Self {
            variable,
            value: if secret {
                HIDDEN.to_owned()
            } else {
                value.chars().take(TOLD_MAX).collect()
            },
            accepted: accepted.into(),
        }
    }

    /// As what it is counted.
    #[must_use]
    pub fn kind(&self) -> BadInput {
        match self.variable {
            "SENTRY_DSN" => BadInput::Dsn,
            name if name.ends_with("_ENDPOINT") => BadInput::Endpoint,
            _ => BadInput::Setting,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            accepted,
        } = self;
        write!(f, "{variable} is {value:?}; must be {accepted}")
    }
}
