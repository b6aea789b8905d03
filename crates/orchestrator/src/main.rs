//! `pangea-orchestrator`: the study as a process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clock::SystemClock;
use orchestrator::app::SERVICE;
use orchestrator::{Config, Orchestrator, Wiring};
use telemetry::Telemetry;
use telemetry::process::{Arguments, arguments, asked_to_end, print};

/// How long calls in hand may take once the process was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

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
        compute: config.compute.parse().context("compute")?,
        pipe: None,
    };
    let service = Orchestrator::start(config, wiring).await?;
    let asked_to_end = asked_to_end()?;
    print(&format!(
        "{SERVICE} answers: gRPC {}, HTTP http://{}",
        service.grpc, service.http
    ))?;
    asked_to_end.await;
    service.stop(tokio::time::sleep(PATIENCE)).await;
    Ok(())
}
