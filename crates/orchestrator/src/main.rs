//! `pangea-orchestrator`: the study as a process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clock::SystemClock;
use orchestrator::app::SERVICE;
use orchestrator::{Config, Orchestrator, Wiring};
use seams::Seams;
use telemetry::config::environment::Environment;
use telemetry::logs::Output;
use telemetry::metrics::heap::Allocator;
use telemetry::process::{Arguments, arguments, asked_to_end, print};
use telemetry::{Host, Household, Telemetry};

/// How long calls in hand may take once the process was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = match arguments(SERVICE, std::env::args_os())? {
        Arguments::Print(text) => return print(&text),
        Arguments::Run { config } => Config::load(config.as_deref())?,
    };
    let environment = Environment::of_process();
    config.aws.refuses_trials = environment.is_production;
    let mut host = Host::begin(SERVICE, Household::Alone, environment)?;
    host.write_logs(&config.log, Output::Stdout)?;
    let telemetry = host.telemetry();
    let lived = host.around(live(config, telemetry)).await;
    lived.map_err(|error| telemetry::in_a_line(&error))
}

async fn live(config: Config, telemetry: Telemetry) -> anyhow::Result<()> {
    let wiring = Wiring {
        telemetry,
        clock: Arc::new(SystemClock::default()),
        compute: config.compute.parse().context("compute")?,
        pipe: None,
        queue: None,
        seams: Seams::default(),
    };
    // Listened for before the process announces itself, so that whoever waited for that can end it.
    let asked_to_end = asked_to_end()?;
    tokio::pin!(asked_to_end);
    let service = tokio::select! {
        service = Orchestrator::start(config, wiring) => service?,
        // It may have to stand by for long.
        () = &mut asked_to_end => return Ok(()),
    };
    let deposed = tokio::select! {
        () = asked_to_end => false,
        () = service.deposed() => true,
    };
    service.stop(Box::pin(tokio::time::sleep(PATIENCE))).await;
    ensure!(
        !deposed,
        "another orchestrator leads; started again, this one stands by"
    );
    Ok(())
}
