//! `pangea-compute-core`: the engine room as a process.

use std::sync::Arc;
use std::time::Duration;

use clock::SystemClock;
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

/// What the allocator asks of the system: huge pages, where it may be asked for them. Each training
/// takes fresh memory for a whole model, and would spend a third of a short one on faults of small
/// pages.
///
/// # Source
///
/// <https://jemalloc.net/jemalloc.3.html>, `malloc_conf` and `opt.thp`.
#[expect(unsafe_code, reason = "the allocator looks for a symbol of this name")]
// SAFETY: the name is the allocator's own, which reads it as a pointer to a text that ends with a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 11] = b"thp:always\0";

#[tokio::main]
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
        pipe: None,
        clock: Arc::new(SystemClock::default()),
        seams: Seams::default(),
    };
    // Listened for before the process announces itself, so that whoever waited for that can end it.
    let asked_to_end = asked_to_end()?;
    let service = ComputeCore::start(config, wiring).await?;
    asked_to_end.await;
    service.stop(Box::pin(tokio::time::sleep(PATIENCE))).await;
    Ok(())
}
