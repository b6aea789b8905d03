//! compute-core as a process: built, announced, served, drained.

use std::future::Future;
use std::net::SocketAddr;

use proto::transport::listen::{self, ListenError};
use proto::transport::{Incoming, PipeListener, server};
use proto::v1::compute_server::ComputeServer;
use telemetry::operations::{self, Operations};
use telemetry::{Readiness, Telemetry};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic_reflection::server as reflection;
use tracing::{info, warn};

use crate::cache::Cache;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::service::Service;

const MIB: usize = 1024 * 1024;

/// The service's name in logs, metrics and health.
pub const SERVICE: &str = "pangea-compute-core";

/// Services at the port besides our own.
const ALSO_SERVED: [&str; 2] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
];

/// What comes from outside of the configuration.
#[derive(Debug)]
pub struct Wiring {
    /// What it shows of itself.
    pub telemetry: Telemetry,
    /// Where callers in the same process connect, besides the port.
    pub pipe: Option<PipeListener>,
}

/// Why compute-core does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A port or a socket is taken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A metric's name is taken.
    #[error(transparent)]
    Metrics(#[from] telemetry::metrics::Error),
    /// The descriptors for reflection do not decode.
    #[error("reflection: {0}")]
    Reflection(#[from] reflection::Error),
}

/// A compute-core that answers.
#[derive(Debug)]
pub struct ComputeCore {
    /// Where calls come in.
    pub grpc: SocketAddr,
    /// Where operators look.
    pub http: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl ComputeCore {
    /// Listens and answers.
    ///
    /// # Errors
    ///
    /// [`StartError`] names the address that cannot be had.
    pub async fn start(config: Config, wiring: Wiring) -> Result<Self, StartError> {
        let metrics = Metrics::register(&wiring.telemetry.registry)?;
        let (listener, grpc_at) = listen::tcp(config.grpc.listen, "grpc.listen").await?;
        let (http, http_at) = listen::tcp(config.http.listen, "http.listen").await?;
        let mut incoming = Incoming::default().tcp(listener);
        if let Some(socket) = listen::unix(&config.grpc.unix_socket, "grpc.unix_socket").await? {
            incoming = incoming.unix(socket);
        }
        if let Some(pipe) = wiring.pipe {
            incoming = incoming.pipe(pipe);
        }
        let cache = Cache::new(config.engine.cache_mib.saturating_mul(MIB));
        let engine = &config.engine;
        let service = Service::new(cache, engine.concurrency, engine.threads, metrics);
        let readiness = Readiness::new(&["engine"]);
        readiness.set("engine", true);

        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<ComputeServer<Service>>().await;
        // The descriptors are of every service of the house; only those at this port are listed.
        let reflection = [ComputeServer::<Service>::NAME]
            .into_iter()
            .chain(ALSO_SERVED)
            .fold(
                reflection::Builder::configure(),
                reflection::Builder::with_service_name,
            )
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(proto::fault::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let serving = server()
            .add_service(ComputeServer::new(service))
            .add_service(health_service)
            .add_service(reflection)
            .serve_with_incoming_shutdown(
                incoming.connections(),
                closing.clone().cancelled_owned(),
            );
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                warn!(error = %error, "calls are no longer served");
            }
        });
        let operations = Operations {
            service: SERVICE,
            readiness,
            registry: wiring.telemetry.registry,
        };
        let shutdown = closing.clone().cancelled_owned();
        tasks.spawn(async move {
            if let Err(error) = operations::serve(http, operations, shutdown).await {
                warn!(error = %error, "operators are no longer served");
            }
        });
        info!(grpc = %grpc_at, http = %http_at, "compute-core answers");
        Ok(Self {
            grpc: grpc_at,
            http: http_at,
            closing,
            tasks,
        })
    }

    /// Stops taking calls and lets those in hand finish, until `patience` ends.
    pub async fn stop(self, patience: impl Future<Output = ()>) {
        self.closing.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = patience => warn!("stopped before every call was answered"),
        }
    }
}
