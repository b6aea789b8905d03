//! An error with all that is behind it, in one line.

use std::error::Error;
use std::fmt;

/// Shows an error and what caused it, from the outermost to the innermost. A cause that the message
/// before it tells of is not told again.
#[derive(Debug, Clone, Copy)]
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        let mut error = self.0;
        while let Some(cause) = error.source() {
            let message = cause.to_string();
            if !told.contains(&message) {
                told.push_str(": ");
                told.push_str(&message);
            }
            error = cause;
        }
        f.write_str(&told)
    }
}

/// An error that a process ends with, as one line.
#[must_use]
pub fn in_a_line(error: &anyhow::Error) -> anyhow::Error {
    anyhow::Error::msg(Causes(error.as_ref()).to_string())
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("the store failed: {0}")]
    struct Failed(#[from] io::Error);

    #[test]
    fn what_a_message_tells_of_is_not_told_again() {
        let failed = Failed(io::Error::other("disk is full"));
        let error = Err::<(), _>(failed).context("house").unwrap_err();
        let line = in_a_line(&error);
        assert_eq!(line.to_string(), "house: the store failed: disk is full");
        assert!(line.source().is_none());
    }
}
