//! Where commands write: results for a person or for a program.

use std::fmt;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::human::printable;

/// Who reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A person.
    Text,
    /// A program: one JSON value on the last line; one on each line for `watch`.
    Json,
}

/// Standard output, or what stands in for it.
pub struct Output {
    format: Format,
    out: Box<dyn Write + Send>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Output").field(&self.format).finish()
    }
}

impl Output {
    /// Standard output.
    #[must_use]
    pub fn stdout(format: Format) -> Self {
        let out = Box::new(io::stdout());
        Self { format, out }
    }

    /// Who reads.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes a result: `text` for a person, which may have many lines, or `json` for a program.
    ///
    /// # Errors
    ///
    /// The writer's; `BrokenPipe` when the reader has gone.
    pub fn show(&mut self, text: impl fmt::Display, json: &impl Serialize) -> io::Result<()> {
        match self.format {
            Format::Text => text
                .to_string()
                .lines()
                .try_for_each(|line| self.line(line)),
            Format::Json => self.json(json),
        }
    }

    /// Writes a line of text, whoever reads; nothing in it moves the cursor.
    ///
    /// # Errors
    ///
    /// As [`Output::show`].
    pub fn line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{}", printable(&text.to_string()))?;
        self.out.flush()
    }

    /// Writes one JSON value on a line, whoever reads.
    ///
    /// # Errors
    ///
    /// As [`Output::show`].
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        writeln!(self.out, "{}", serde_json::to_string(value)?)?;
        self.out.flush()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Tells the person at the terminal something that is no result.
pub fn note(text: impl fmt::Display) {
    // A note that cannot be written is not worth failing for.
    let _unheard = writeln!(io::stderr(), "{}", printable(&text.to_string()));
}

/// Tells the person at the terminal what went wrong, on as many lines as that takes.
pub fn error(text: impl fmt::Display) {
    for line in text.to_string().lines() {
        note(format_args!("error: {line}"));
    }
}
