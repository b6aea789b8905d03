//! What the `main` of every service does around its own life: arguments, signals.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

/// What a service was called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// Run, with this file of settings if one is given.
    Run {
        /// From `--config FILE`.
        config: Option<PathBuf>,
    },
    /// Print this text and stop.
    Print(String),
}

/// Reads a service's arguments: `--config FILE`, `--version`, `--help`.
///
/// # Errors
///
/// Names the argument that is not one of these.
pub fn arguments(
    service: &str,
    arguments: impl Iterator<Item = OsString>,
) -> anyhow::Result<Arguments> {
    let mut arguments = arguments.skip(1);
    let mut config = None;
    while let Some(argument) = arguments.next() {
        match argument.to_string_lossy().as_ref() {
            "--config" => {
                let path = arguments.next().context("--config needs a file")?;
                config = Some(PathBuf::from(path));
            }
            "--version" => {
                return Ok(Arguments::Print(format!(
                    "{service} {}",
                    crate::metrics::VERSION
                )));
            }
            "--help" | "-h" => {
                let text = format!("usage: {service} [--config FILE] [--version] [--help]");
                return Ok(Arguments::Print(text));
            }
            other => {
                bail!("unknown argument {other:?}; accepted are --config FILE, --version, --help")
            }
        }
    }
    Ok(Arguments::Run { config })
}

/// Prints a line for whoever started the process.
///
/// # Errors
///
/// When standard output is closed.
pub fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to standard output")
}

/// Listens from now on; the future returns when the process is asked to end: SIGTERM, or Ctrl-C.
///
/// To be called before the process announces itself, so that whoever waited for that can end it.
///
/// # Errors
///
/// When signals cannot be listened for.
pub fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> anyhow::Result<Arguments> {
        arguments("pangea-test", words.iter().map(OsString::from))
    }

    #[test]
    fn a_config_file_is_taken() {
        let expected = Arguments::Run {
            config: Some("a.toml".into()),
        };
        assert_eq!(
            read(&["pangea-test", "--config", "a.toml"]).unwrap(),
            expected
        );
        assert_eq!(
            read(&["pangea-test"]).unwrap(),
            Arguments::Run { config: None }
        );
    }

    #[test]
    fn an_unknown_argument_is_refused_with_the_known_ones() {
        let error = read(&["pangea-test", "--confg"]).unwrap_err().to_string();
        assert!(
            error.contains("--confg") && error.contains("--config FILE"),
            "{error}"
        );
    }
}
