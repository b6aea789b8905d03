//! `pangea up`: keeps the house running.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use telemetry::config::LogConfig;
use telemetry::config::environment::Environment;
use telemetry::logs::Output;
use telemetry::process::asked_to_end;

use super::Session;
use crate::house::{self, House, Place, Plan, Ports};

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Where everything that must not be lost lies
    #[arg(long, value_name = "DIR", default_value = "data/up")]
    data_dir: PathBuf,
    /// How many workers
    #[arg(long, value_name = "N", default_value = "2")]
    workers: NonZeroUsize,
    /// Take any free ports instead of the known ones
    #[arg(long)]
    free_ports: bool,
}

impl Up {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let mut host = house::host(Environment::of_process())?;
        host.write_logs(&LogConfig::default(), Output::Stderr)?;
        let ports = if self.free_ports {
            Ports::Free
        } else {
            Ports::Fixed
        };
        let plan = Plan {
            data_dir: self.data_dir,
            workers: self.workers,
            ports,
        };
        let house = House::start(plan, host).await.map_err(|error| {
            anyhow::anyhow!(
                "{error} (here: --free-ports takes any free ports, --data-dir another directory)"
            )
        })?;
        let asked_to_end = asked_to_end()?;
        session.output.show(
            listed(&house.places()),
            &crate::json::places(&house.places()),
        )?;
        asked_to_end.await;
        house.stop().await;
        Ok(())
    }
}

/// The parts of the house, a line each.
pub(super) fn listed(places: &[Place]) -> String {
    let line = |place: &Place| {
        let grpc = place
            .grpc
            .map(|grpc| format!("gRPC {grpc}  "))
            .unwrap_or_default();
        format!("{:<13} {grpc}http://{}", place.service, place.http)
    };
    places.iter().map(line).collect::<Vec<_>>().join("\n")
}
