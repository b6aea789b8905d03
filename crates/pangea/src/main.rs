//! The `pangea` program.

use std::io;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use client::Timestamp;
use pangea::cli::Cli;
use pangea::exit::Exit;
use pangea::output;
use telemetry::Causes;
use telemetry::metrics::heap::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match cli.run(now()).await {
        Ok(exit) => exit,
        Err(error) if reader_has_gone(&error) => Exit::Done,
        Err(error) => {
            output::error(Causes(error.as_ref()));
            Exit::Failed
        }
    };
    exit.into()
}

/// Whether standard output was closed, as by `| head`.
fn reader_has_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[expect(
    clippy::disallowed_methods,
    reason = "time comes into the command line here"
)]
fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(0).after(since_epoch)
}
