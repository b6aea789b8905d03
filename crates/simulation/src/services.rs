//! The services, started as the processes of a simulation.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, ManualClock};
use compute_core::ComputeCore;
use orchestrator::Orchestrator;
use proto::transport::{Address, Pipe};
use seams::Seams;
use task_queue::TaskQueue;
use telemetry::Telemetry;
use telemetry::config::{GrpcConfig, HttpConfig};
use training_worker::TrainingWorker;

use crate::Broken;

/// How long a connection may be silent. That is counted by clocks that nobody moves, so it is longer
/// than any simulation.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// What every service is started with, however often.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) data_dir: PathBuf,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) compute: Pipe,
    pub(crate) orchestrator: Pipe,
    pub(crate) queue: Option<Arc<dyn TaskQueue>>,
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Orchestrator,
    ComputeCore,
    /// With so many slots.
    Worker(NonZeroU32),
}

/// A service that answers until it is dropped.
pub(crate) type Answering = Box<dyn std::any::Any + Send>;

/// Starts a service under `name`.
pub(crate) async fn start(
    kind: Kind,
    name: &str,
    place: Place,
    seams: Seams,
) -> Result<Answering, Broken> {
    match kind {
        Kind::Orchestrator => Ok(Box::new(orchestrator(place, seams).await?)),
        Kind::ComputeCore => compute_core(place, seams).await,
        Kind::Worker(slots) => worker(name, slots, place, seams).await,
    }
}

/// Starts an orchestrator.
pub(crate) async fn orchestrator(place: Place, seams: Seams) -> Result<Orchestrator, Broken> {
    let mut config = orchestrator::Config {
        data_dir: place.data_dir,
        idle_timeout: IDLE_TIMEOUT,
        ..Default::default()
    };
    let (grpc, http) = anywhere();
    (config.grpc, config.http) = (grpc, http);
    let wiring = orchestrator::Wiring {
        telemetry: quiet(orchestrator::app::SERVICE)?,
        clock: place.clock,
        compute: Address::Pipe(place.compute),
        pipe: Some(place.orchestrator.listen()),
        queue: place.queue,
        seams,
    };
    let started = Orchestrator::start(config, wiring).await;
    started.map_err(Broken::start)
}

async fn compute_core(place: Place, seams: Seams) -> Result<Answering, Broken> {
    let mut config = compute_core::Config {
        idle_timeout: IDLE_TIMEOUT,
        ..Default::default()
    };
    (config.grpc, config.http) = anywhere();
    let wiring = compute_core::Wiring {
        telemetry: quiet(compute_core::app::SERVICE)?,
        pipe: Some(place.compute.listen()),
        clock: place.clock,
        seams,
    };
    let started = ComputeCore::start(config, wiring).await;
    Ok(Box::new(started.map_err(Broken::start)?))
}

async fn worker(
    name: &str,
    slots: NonZeroU32,
    place: Place,
    seams: Seams,
) -> Result<Answering, Broken> {
    let config = training_worker::Config {
        id: name.to_owned(),
        slots,
        idle_timeout: IDLE_TIMEOUT,
        http: anywhere().1,
        ..Default::default()
    };
    let clock: Arc<dyn Clock> = place.clock;
    let wiring = training_worker::Wiring {
        telemetry: quiet(training_worker::app::SERVICE)?,
        clock,
        orchestrator: Address::Pipe(place.orchestrator),
        compute: Address::Pipe(place.compute),
        seams,
    };
    let started = TrainingWorker::start(config, wiring).await;
    Ok(Box::new(started.map_err(Broken::start)?))
}

/// Ports that are free. Nobody calls there; those who could would find the production code.
fn anywhere() -> (GrpcConfig, HttpConfig) {
    let (mut grpc, mut http) = (
        orchestrator::Config::default().grpc,
        orchestrator::Config::default().http,
    );
    grpc.listen.set_port(0);
    http.listen.set_port(0);
    (grpc, http)
}

fn quiet(service: &'static str) -> Result<Telemetry, Broken> {
    Telemetry::quiet(service).map_err(Broken::start)
}
