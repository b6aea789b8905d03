//! `pangea-training-worker`: the workshop as a process.

use std::sync::Arc;

use anyhow::Context;
use clock::SystemClock;
use seams::Seams;
use telemetry::config::environment::Environment;
use telemetry::logs::Output;
use telemetry::metrics::heap::Allocator;
use telemetry::process::{Arguments, arguments, asked_to_end, print};
use telemetry::{Host, Household, Telemetry};
use training_worker::app::SERVICE;
use training_worker::{Config, TrainingWorker, Wiring};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// It waits and passes bytes on: to hand them from thread to thread would take longer than the work.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = match arguments(SERVICE, std::env::args_os())? {
        Arguments::Print(text) => return print(&text),
        Arguments::Run { config } => Config::load(config.as_deref())?,
    };
    let mut host = Host::begin(SERVICE, Household::Alone, Environment::of_process())?;
    host.write_logs(&config.log, Output::Stdout)?;
    let telemetry = host.telemetry();
    let lived = host.around(live(config, telemetry)).await;
    lived.map_err(|error| telemetry::in_a_line(&error))
}

async fn live(config: Config, telemetry: Telemetry) -> anyhow::Result<()> {
    let wiring = Wiring {
        telemetry,
        clock: Arc::new(SystemClock::default()),
        orchestrator: config.orchestrator.parse().context("orchestrator")?,
        compute: config.compute.parse().context("compute")?,
        seams: Seams::default(),
    };
    let drain = config.lease.drain;
    // Listened for before the process announces itself, so that whoever waited for that can end it.
    let asked_to_end = asked_to_end()?;
    let service = TrainingWorker::start(config, wiring).await?;
    tokio::select! {
        () = asked_to_end => {}
        () = service.told_to_end() => {}
    }
    service.stop(Box::pin(tokio::time::sleep(drain))).await;
    Ok(())
}
