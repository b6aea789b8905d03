//! The whole house in one process: the three services over the embedded backends.
//!
//! The services speak gRPC to each other over pipes, with the code that they use between hosts; so
//! stopping one of them does here what it does there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, SystemClock};
use compute_core::ComputeCore;
use orchestrator::Orchestrator;
use proto::transport::{Address, Pipe};
use seams::Seams;
use telemetry::config::environment::Environment;
use telemetry::metrics::Registry;
use telemetry::{Host, Household, Telemetry};
use thiserror::Error;
use training_worker::TrainingWorker;

/// How long each service may take to finish what it has in hand.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the house is built from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where everything that must not be lost lies.
    pub data_dir: PathBuf,
    /// How many workers.
    pub workers: NonZeroUsize,
    /// Whether ports are the ones that people know, or any that are free.
    pub ports: Ports,
}

/// Which ports the services take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The ones in the documentation.
    Fixed,
    /// Any that are free.
    Free,
}

/// Why the house does not stand.
#[derive(Debug, Error)]
pub enum HouseError {
    /// The orchestrator does not start.
    #[error(transparent)]
    Orchestrator(#[from] orchestrator::app::StartError),
    /// The compute-core does not start.
    #[error(transparent)]
    Compute(#[from] compute_core::app::StartError),
    /// A worker does not start.
    #[error(transparent)]
    Worker(#[from] training_worker::app::StartError),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] telemetry::metrics::Error),
}

/// A house that stands.
#[derive(Debug)]
pub struct House {
    plan: Plan,
    host: Host,
    registries: BTreeMap<&'static str, Registry>,
    compute_pipe: Pipe,
    orchestrator_pipe: Pipe,
    compute: Option<ComputeCore>,
    orchestrator: Orchestrator,
    workers: Vec<TrainingWorker>,
}

/// Where a part of the house answers operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which part.
    pub service: String,
    /// Where it takes calls, if it does.
    pub grpc: Option<SocketAddr>,
    /// Where it shows its health and metrics.
    pub http: SocketAddr,
}

/// Who shares the orchestrator's process.
const GUESTS: [&str; 2] = [compute_core::app::SERVICE, training_worker::app::SERVICE];

/// The process of a house: the orchestrator's, which the other services share.
///
/// # Errors
///
/// What Prometheus says to a name that it does not take.
pub fn host(environment: Environment) -> Result<Host, telemetry::metrics::Error> {
    let household = Household::Shared(&GUESTS);
    Host::begin(orchestrator::app::SERVICE, household, environment)
}

impl House {
    /// Builds the house in the process of `host`, which ends with it.
    ///
    /// # Errors
    ///
    /// [`HouseError`].
    pub async fn start(plan: Plan, host: Host) -> Result<Self, HouseError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let (compute_pipe, orchestrator_pipe) = (Pipe::default(), Pipe::default());
        let mut registries = BTreeMap::new();
        let mut of = |telemetry: Telemetry| {
            registries.insert(telemetry.service(), telemetry.registry.clone());
            telemetry
        };
        let guest = of(host.guest(compute_core::app::SERVICE)?);
        let compute = start_compute(&plan, guest, &compute_pipe).await?;
        let orchestrator = start_orchestrator(
            &plan,
            of(host.telemetry()),
            &clock,
            &compute_pipe,
            &orchestrator_pipe,
        )
        .await?;
        let mut workers = Vec::new();
        for number in 1..=plan.workers.get() {
            let wiring = training_worker::Wiring {
                telemetry: of(host.guest(training_worker::app::SERVICE)?),
                clock: Arc::clone(&clock),
                orchestrator: Address::Pipe(orchestrator_pipe.clone()),
                compute: Address::Pipe(compute_pipe.clone()),
                seams: Seams::default(),
            };
            workers.push(TrainingWorker::start(worker_config(&plan, number), wiring).await?);
        }
        let compute = Some(compute);
        Ok(Self {
            plan,
            host,
            registries,
            compute_pipe,
            orchestrator_pipe,
            compute,
            orchestrator,
            workers,
        })
    }

    /// Where a client in this process finds the orchestrator.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::Pipe(self.orchestrator_pipe.clone())
    }

    /// Where each part answers.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let orchestrator = Place {
            service: "orchestrator".to_owned(),
            grpc: Some(self.orchestrator.grpc),
            http: self.orchestrator.http,
        };
        let compute = self.compute.as_ref().map(|compute| Place {
            service: "compute-core".to_owned(),
            grpc: Some(compute.grpc),
            http: compute.http,
        });
        let worker = |worker: &TrainingWorker| Place {
            service: worker.id.clone(),
            grpc: None,
            http: worker.http,
        };
        std::iter::once(orchestrator)
            .chain(compute)
            .chain(self.workers.iter().map(worker))
            .collect()
    }

    /// What each service counts, by its name; of the workers, the last one.
    #[must_use]
    pub fn registries(&self) -> &BTreeMap<&'static str, Registry> {
        &self.registries
    }

    /// Takes compute-core away.
    pub async fn stop_compute(&mut self) {
        if let Some(compute) = self.compute.take() {
            compute.stop(Box::pin(tokio::time::sleep(PATIENCE))).await;
        }
    }

    /// Brings compute-core back, with nothing that it held.
    ///
    /// # Errors
    ///
    /// [`HouseError`].
    pub async fn start_compute(&mut self) -> Result<(), HouseError> {
        let guest = self.host.guest(compute_core::app::SERVICE)?;
        self.registries
            .insert(guest.service(), guest.registry.clone());
        self.compute = Some(start_compute(&self.plan, guest, &self.compute_pipe).await?);
        Ok(())
    }

    /// Takes the house down: workers first, so that nothing is left half reported.
    pub async fn stop(mut self) {
        for worker in std::mem::take(&mut self.workers) {
            worker.stop(Box::pin(tokio::time::sleep(PATIENCE))).await;
        }
        self.orchestrator
            .stop(Box::pin(tokio::time::sleep(PATIENCE)))
            .await;
        if let Some(compute) = self.compute {
            compute.stop(Box::pin(tokio::time::sleep(PATIENCE))).await;
        }
        self.host.end().await;
    }
}

async fn start_compute(
    plan: &Plan,
    telemetry: Telemetry,
    pipe: &Pipe,
) -> Result<ComputeCore, HouseError> {
    let mut config = compute_core::Config::default();
    plan.ports.choose(&mut config.grpc.listen);
    plan.ports.choose(&mut config.http.listen);
    let wiring = compute_core::Wiring {
        telemetry,
        pipe: Some(pipe.listen()),
        clock: Arc::new(SystemClock::default()),
        seams: Seams::default(),
    };
    Ok(ComputeCore::start(config, wiring).await?)
}

async fn start_orchestrator(
    plan: &Plan,
    telemetry: Telemetry,
    clock: &Arc<dyn Clock>,
    compute: &Pipe,
    own: &Pipe,
) -> Result<Orchestrator, HouseError> {
    let mut config = orchestrator::Config {
        data_dir: plan.data_dir.clone(),
        ..Default::default()
    };
    plan.ports.choose(&mut config.grpc.listen);
    plan.ports.choose(&mut config.http.listen);
    let wiring = orchestrator::Wiring {
        telemetry,
        clock: Arc::clone(clock),
        compute: Address::Pipe(compute.clone()),
        pipe: Some(own.listen()),
        queue: None,
        seams: Seams::default(),
    };
    Ok(Orchestrator::start(config, wiring).await?)
}

fn worker_config(plan: &Plan, number: usize) -> training_worker::Config {
    let mut config = training_worker::Config {
        id: format!("worker-{number}"),
        ..Default::default()
    };
    let offset = u16::try_from(number - 1).unwrap_or(u16::MAX);
    let port = config.http.listen.port().saturating_add(offset);
    config.http.listen.set_port(port);
    plan.ports.choose(&mut config.http.listen);
    config
}

impl Ports {
    fn choose(self, address: &mut SocketAddr) {
        if self == Self::Free {
            address.set_port(0);
        }
    }
}
