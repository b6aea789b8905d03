//! Log lines on standard error: text for people, JSON for machines.

mod record;

use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

pub use record::LogRecord;

/// The variable that overrides the default filter, as everywhere in Rust.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One line of text for each event.
    Text,
    /// One JSON object a line: timestamp, level, target, message, fields and spans.
    Json,
}

/// Why logs could not be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The filter is not one.
    #[error("log filter {filter:?} cannot be read")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A process has one subscriber.
    #[error("logs are installed already")]
    Installed(#[from] SetGlobalDefaultError),
}

/// Sends the events of this process to standard error.
///
/// `default_filter` says which, such as `info,orchestrator=debug`, unless `RUST_LOG` does.
///
/// # Errors
///
/// [`InstallError`] when the filter cannot be read or logs were installed before.
pub fn install(format: LogFormat, default_filter: &str) -> Result<(), InstallError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "RUST_LOG must work before any configuration is read"
    )]
    let wanted = std::env::var(FILTER_VARIABLE).ok();
    let filter = filter(wanted.as_deref(), default_filter)?;
    let subscriber = subscriber(format, filter, io::stderr);
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

/// The filter that was wanted, or else the default; an empty wish is none.
fn filter(wanted: Option<&str>, default: &str) -> Result<EnvFilter, InstallError> {
    let filter = wanted.filter(|text| !text.is_empty()).unwrap_or(default);
    EnvFilter::try_new(filter).map_err(|source| InstallError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

fn subscriber<W>(format: LogFormat, filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let terminal = io::stderr().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let layer = fmt::layer().with_writer(writer);
    let layer = if text {
        layer.with_ansi(terminal).boxed()
    } else {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .boxed()
    };
    Registry::default().with(filter).with(layer)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What `work` logs, line by line.
    fn logged(format: LogFormat, filter: &str, work: impl FnOnce()) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = Capture(Arc::clone(&written));
        let filter = EnvFilter::try_new(filter).unwrap();
        let subscriber = subscriber(format, filter, move || writer.clone());
        tracing::subscriber::with_default(subscriber, work);
        let bytes = written.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[derive(Clone)]
    struct Capture(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Capture {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_carries_fields_and_spans() {
        let lines = logged(LogFormat::Json, "info", || {
            let span = tracing::info_span!("aggregate", run = "7");
            let _inside = span.enter();
            tracing::warn!(target: "orchestrator", round = 3, "update rejected");
        });
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "orchestrator");
        assert_eq!(line["message"], "update rejected");
        assert_eq!(line["round"], 3);
        assert_eq!(line["spans"][0]["name"], "aggregate");
        assert_eq!(line["spans"][0]["run"], "7");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z'), "{timestamp}");
    }

    #[test]
    fn a_text_line_reads_as_one() {
        let lines = logged(LogFormat::Text, "info", || {
            tracing::info!(round = 3, "round completed");
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("round completed"), "{lines:?}");
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let lines = logged(LogFormat::Json, "warn,noisy=error", || {
            tracing::info!(target: "quiet", "no");
            tracing::warn!(target: "noisy", "no");
            tracing::warn!(target: "quiet", "yes");
        });
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn a_wish_wins_over_the_default_and_is_named_when_wrong() {
        assert_eq!(filter(Some("debug"), "info").unwrap().to_string(), "debug");
        assert_eq!(filter(Some(""), "info").unwrap().to_string(), "info");
        assert_eq!(filter(None, "info").unwrap().to_string(), "info");
        let error = filter(Some("a=loud"), "info").unwrap_err();
        assert_eq!(error.to_string(), "log filter \"a=loud\" cannot be read");
    }
}
