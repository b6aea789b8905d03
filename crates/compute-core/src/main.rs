//! `pangea-compute-core`: the engine room as a process.

use std::time::Duration;

use compute_core::app::SERVICE;
use compute_core::{ComputeCore, Config, Wiring};
use seams::Seams;
use telemetry::config::environment::Environment;
use telemetry::logs::Output;
use telemetry::metrics::heap::Allocator;
use telemetry::process::{Arguments, arguments, asked_to_end, print};
use telemetry::{Host, Household, Telemetry};

/// How long calls in hand may take once the process was asked to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = match arguments(SERVICE, std::env::args_os())? {
        Arguments::Print(text) => return print(&text),
        Arguments::Run { config } => Config::load(config.as_deref())?,
    };
    let mut host = Host::begin(SERVICE, Household::Alone, Environment::of_process())?;
    host.write_logs(&config.log, Output::Stdout)?;
    let telemetry = host.telemetry();
    host.around(live(config, telemetry)).await
}

async fn live(config: Config, telemetry: Telemetry) -> anyhow::Result<()> {
    let wiring = Wiring {
        telemetry,
        pipe: None,
        seams: Seams::default(),
    };
    // Listened for before the process announces itself, so that whoever waited for that can end it.
    let asked_to_end = asked_to_end()?;
    let service = ComputeCore::start(config, wiring).await?;
    asked_to_end.await;
    service.stop(tokio::time::sleep(PATIENCE)).await;
    Ok(())
}
