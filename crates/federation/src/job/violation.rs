//! What is wrong with a job, field by field.

use std::fmt;

use thiserror::Error;

/// One value that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the value in the file, as in `cohort.fraction`.
    pub field: String,
    /// What it is and what would be accepted, as in `is 1.7; must be above 0 and at most 1`.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A job with at least one violation; prints them all, one on each line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct InvalidJob {
    /// In the order of the file's fields.
    pub violations: Vec<Violation>,
}

impl fmt::Display for InvalidJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

/// Collects violations while values are checked.
#[derive(Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation {
            field: field.into(),
            message: message.into(),
        });
    }

    /// `value`, unless something was added.
    pub(super) fn or<T>(self, value: T) -> Result<T, InvalidJob> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(InvalidJob { violations: self.0 })
        }
    }
}
