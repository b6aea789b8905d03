//! `pangea-training-worker`: the workshop as a process.

use std::sync::Arc;

use anyhow::Context;
use clock::SystemClock;
use telemetry::Telemetry;
use telemetry::process::{Arguments, arguments, asked_to_end, print};
use training_worker::app::SERVICE;
use training_worker::{Config, TrainingWorker, Wiring};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = match arguments(SERVICE, std::env::args_os())? {
        Arguments::Print(text) => return print(&text),
        Arguments::Run { config } => Config::load(config.as_deref())?,
    };
    telemetry::logs::install(config.log.format, &config.log.filter)?;
    let wiring = Wiring {
        telemetry: Telemetry::quiet(SERVICE)?,
        clock: Arc::new(SystemClock::default()),
        orchestrator: config.orchestrator.parse().context("orchestrator")?,
        compute: config.compute.parse().context("compute")?,
    };
    let drain = config.lease.drain;
    let service = TrainingWorker::start(config, wiring).await?;
    let asked_to_end = asked_to_end()?;
    print(&format!(
        "{SERVICE} {} works: HTTP http://{}",
        service.id, service.http
    ))?;
    tokio::select! {
        () = asked_to_end => {}
        () = service.told_to_end() => {}
    }
    service.stop(tokio::time::sleep(drain)).await;
    Ok(())
}
