//! compute-core as a process: built, announced, served, drained.

use std::net::SocketAddr;
use std::sync::Arc;

use clock::Clock;
use federation::model::ModelSpec;
use futures::future::{BoxFuture, LocalBoxFuture};
use proto::transport::listen::{self, ListenError};
use proto::transport::{Incoming, PipeListener, server_within};
use proto::v1::compute_server::{self, ComputeServer};
use seams::Seams;
use telemetry::health::{self, Check, Health};
use telemetry::operations::{self, Operations};
use telemetry::{Telemetry, rpc};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic_reflection::server as reflection;
use tracing::{info, warn};

use crate::cache::Cache;
use crate::config::Config;
use crate::engine::initial_parameters;
use crate::metrics::Metrics;
use crate::service::Service;

const MIB: usize = 1024 * 1024;

/// The service's name in logs, metrics and health.
pub const SERVICE: &str = "pangea-compute-core";

/// Services at the port besides our own.
const ALSO_SERVED: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Our own.
const SERVICES: [&str; 1] = [compute_server::SERVICE_NAME];

/// What comes from outside of the configuration.
#[derive(Debug)]
pub struct Wiring {
    /// What it shows of itself.
    pub telemetry: Telemetry,
    /// Where callers in the same process connect, besides the port.
    pub pipe: Option<PipeListener>,
    /// What time it is, for who waits for another.
    pub clock: Arc<dyn Clock>,
    /// Who hears of the calls that it answers.
    pub seams: Seams,
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
    /// Operators cannot look at it.
    #[error(transparent)]
    Operations(#[from] operations::StartError),
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
    operators: operations::Answering,
}

impl ComputeCore {
    /// Listens and answers.
    ///
    /// # Errors
    ///
    /// [`StartError`] names the address that cannot be had.
    pub fn start(
        config: Config,
        wiring: Wiring,
    ) -> LocalBoxFuture<'static, Result<Self, StartError>> {
        // As a trait object, it is compiled here, once, and not anew in each program that awaits it.
        Box::pin(Self::begin(config, wiring))
    }

    async fn begin(config: Config, wiring: Wiring) -> Result<Self, StartError> {
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
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let operations = Operations {
            service: SERVICE,
            health: Health::new(vec![Check::needed("engine", computes)], closing.clone()),
            telemetry: wiring.telemetry.clone(),
            also_counted: Some(metrics.http_requests.clone()),
        };
        let operators = operations::start(http, operations).await?;
        let cache = Cache::new(config.engine.cache_mib.saturating_mul(MIB));
        let engine = &config.engine;
        let service = Service::new(cache, engine.concurrency, engine.threads, metrics)
            .with_clock(wiring.clock)
            .through(wiring.seams);
        let this = Self {
            grpc: grpc_at,
            http: http_at,
            closing,
            tasks,
            operators,
        };
        let server = server_within(config.idle_timeout);
        this.serve_calls(server, service, incoming, &wiring.telemetry)
            .await?;
        info!(grpc = %grpc_at, http = %http_at, "compute-core answers");
        Ok(this)
    }

    async fn serve_calls(
        &self,
        server: Server,
        service: Service,
        incoming: Incoming,
        telemetry: &Telemetry,
    ) -> Result<(), StartError> {
        let (health_service, told) = health::tell_callers(&SERVICES, self.closing.clone()).await;
        self.tasks.spawn(told);
        // The descriptors are of every service of the house; only those at this port are listed.
        let reflection = || {
            SERVICES
                .into_iter()
                .chain(ALSO_SERVED)
                .fold(
                    reflection::Builder::configure(),
                    reflection::Builder::with_service_name,
                )
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(proto::fault::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let serving = server
            .layer(rpc::Layer::new(telemetry, proto::calls(&SERVICES))?)
            .add_service(ComputeServer::new(service))
            .add_service(health_service)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .serve_with_incoming_shutdown(
                incoming.connections(),
                self.closing.clone().cancelled_owned(),
            );
        self.tasks.spawn(async move {
            if let Err(error) = serving.await {
                warn!(error = %error, "calls are no longer served");
            }
        });
        Ok(())
    }

    /// Stops taking calls and lets those in hand finish, until `patience` ends.
    pub fn stop(self, patience: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        Box::pin(self.end(patience))
    }

    async fn end(self, patience: BoxFuture<'static, ()>) {
        self.closing.cancel();
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => {}
            () = patience => warn!("stopped before every call was answered"),
        }
        self.operators.stop().await;
    }
}

/// Whether there is a thread for a computation, and a computation yields numbers.
async fn computes() -> Result<(), String> {
    let model = ModelSpec::SoftmaxRegression.architecture(1, 2);
    let model = model.map_err(|error| error.to_string())?;
    let work = move || initial_parameters(&model, 0);
    let made = tokio::task::spawn_blocking(work).await;
    let numbers = made.map_err(|error| error.to_string())?;
    if numbers.is_empty() || !numbers.iter().all(|number| number.is_finite()) {
        return Err(format!("a small model is {numbers:?}"));
    }
    Ok(())
}
