//! `pangea-compute-core`: the engine room as a process.

use std::time::Duration;

use compute_core::app::SERVICE;
use compute_core::{ComputeCore, Config, Wiring};
use telemetry::Telemetry;
use telemetry::process::{Arguments, arguments, asked_to_end};

/// How long calls in hand may take once the process was asked to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = match arguments(SERVICE, std::env::args_os())? {
        Arguments::Print(text) => return telemetry::process::print(&text),
        Arguments::Run { config } => Config::load(config.as_deref())?,
    };
    telemetry::logs::install(config.log.format, &config.log.filter)?;
    let service = ComputeCore::start(
        config,
        Wiring {
            telemetry: Telemetry::quiet(SERVICE)?,
            pipe: None,
        },
    )
    .await?;
    let asked_to_end = asked_to_end()?;
    telemetry::process::print(&format!(
        "{SERVICE} answers: gRPC {}, HTTP http://{}",
        service.grpc, service.http
    ))?;
    asked_to_end.await;
    service.stop(tokio::time::sleep(PATIENCE)).await;
    Ok(())
}
