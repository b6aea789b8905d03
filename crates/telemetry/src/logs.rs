//! What the process says: each event of `tracing`, as a line for people or for machines, in files,
//! and on its way to a collector.
//!
//! A line of JSON has the keys `timestamp`, `level`, `logger`, `module`, `message`, `function`,
//! `line` and `service`; inside of a trace, kept or not, also `trace_id` and `span_id`; and then
//! the event's own fields beside them. An id that is not known is absent rather than empty, so that
//! who asks for lines with a trace gets no others, and a number that is not finite is null, as an
//! index of numbers takes nothing else.

mod files;
mod filter;
mod json;
mod logbook;
mod record;
mod text;
mod visit;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::export::{self, Outbox};
use crate::metrics::IntCounter;
use crate::reports::Guard;
use files::Files;
use filter::Wanted;
use logbook::{Form, Logbook};

pub(crate) use filter::is_ours;
pub use record::LogRecord;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One line of text for each event.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output, where the platform of a service looks for them.
    Stdout,
    /// Standard error, so that the output of a command stays its own.
    Stderr,
}

/// What becomes of the events of this process.
#[derive(Debug)]
pub struct Logs<'a> {
    /// Who speaks where no piece of work says so.
    pub service: &'static str,
    /// Who else speaks in this process. A line that no piece of work claims is said by the service
    /// that its crate is called after.
    pub guests: &'static [&'static str],
    /// Where the lines go.
    pub output: Output,
    /// How they look there.
    pub format: LogFormat,
    /// Which of them, such as `info,orchestrator=debug`. Crates that are not of this house say
    /// nothing below a warning unless they are named here.
    pub filter: &'a str,
    /// A directory for `combined.log` and `error.log`.
    pub dir: Option<&'a Path>,
    /// Where they wait to be sent to a collector.
    pub outbox: Option<Arc<Outbox<LogRecord>>>,
    /// Who is told of errors.
    pub errors: Option<&'a Guard>,
    /// Counts the lines that could not be written.
    pub lost: Option<IntCounter>,
}

/// Why logs could not be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The filter is not one.
    #[error("log filter {filter:?} cannot be read; must be like \"info\" or \"info,crate=debug\"")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The directory cannot be written.
    #[error("log directory {} cannot be written", dir.display())]
    Dir {
        /// Which one.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process has one subscriber.
    #[error("logs are installed already")]
    Installed(#[from] SetGlobalDefaultError),
}

impl Logs<'_> {
    /// Whatever is worth knowing, to `output` alone.
    #[must_use]
    pub fn of(service: &'static str, output: Output) -> Self {
        Self {
            service,
            guests: &[],
            output,
            format: LogFormat::Auto,
            filter: "info",
            dir: None,
            outbox: None,
            errors: None,
            lost: None,
        }
    }

    /// From now on.
    ///
    /// # Errors
    ///
    /// [`InstallError`] when the filter cannot be read, the directory cannot be written, or logs
    /// were installed before.
    pub fn install(self) -> Result<(), InstallError> {
        let (writer, terminal) = match self.output {
            Output::Stdout => (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal()),
            Output::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        };
        let subscriber = self.subscriber(writer, terminal)?;
        Ok(tracing::subscriber::set_global_default(subscriber)?)
    }

    fn subscriber(
        self,
        writer: BoxMakeWriter,
        terminal: bool,
    ) -> Result<impl Subscriber + Send + Sync, InstallError> {
        let text = match self.format {
            LogFormat::Auto => terminal,
            LogFormat::Text => true,
            LogFormat::Json => false,
        };
        let form = if text {
            Form::Text { coloured: terminal }
        } else {
            Form::Json
        };
        let wanted = Wanted::read(self.filter)?;
        let files = self.dir.map(Files::open).transpose()?;
        let logbook = Logbook {
            service: self.service,
            guests: self.guests,
            form,
            writer,
            files,
            outbox: self.outbox,
            lost: self.lost,
        };
        let mut layers = vec![logbook.with_filter(wanted).boxed()];
        layers.extend(self.errors.map(Guard::layer));
        Ok(Registry::default().with(layers))
    }
}

/// Whether this thread sends what was said: what it says itself is written here and sent nowhere.
pub(crate) fn is_sending_thread() -> bool {
    export::is_export_thread() || std::thread::current().name() == Some("sentry-transport")
}

#[cfg(test)]
mod tests;
