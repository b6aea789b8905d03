//! The orchestrator as a process: built, recovered, announced, served, drained.

use std::future::ready;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use futures::future::{BoxFuture, LocalBoxFuture};
use proto::engine::Engine;
use proto::transport::listen::{self, ListenError};
use proto::transport::{Address, Incoming, Outgoing, PipeListener, channel_within, server_within};
use proto::v1::compute_server;
use seams::Seams;
use task_queue::{Counted, TaskQueue};
use telemetry::config::GrpcConfig;
use telemetry::health::{self, Check, Health};
use telemetry::operations::{self, Operations};
use telemetry::{Telemetry, rpc};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic_reflection::server as reflection;
use tracing::{info, warn};

use crate::api::Api;
use crate::backends::{BackendError, Backends};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::dispatch::with_pins;
use crate::fleet::Fleet;
use crate::leading::{Lease, keep, stand_by};
use crate::metrics::Metrics;
use crate::poison::bury;
use crate::reconciler::Reconciler;
use crate::retention::Keeping;
use crate::store::StoreError;
use crate::study::Study;

/// The service's name in logs, metrics and health.
pub const SERVICE: &str = "pangea-orchestrator";

/// Services at the port besides our own.
const ALSO_SERVED: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// How long updates that are on their way to S3 are waited for at the end.
const DRAIN: Duration = Duration::from_secs(2);

/// What comes from outside of the configuration.
#[derive(Debug)]
pub struct Wiring {
    /// What it shows of itself.
    pub telemetry: Telemetry,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The compute-core.
    pub compute: Address,
    /// Where callers in the same process connect, besides the port.
    pub pipe: Option<PipeListener>,
    /// The queue, in place of the one that the configuration names.
    pub queue: Option<Arc<dyn TaskQueue>>,
    /// Who hears of its calls.
    pub seams: Seams,
}

/// Why the orchestrator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The run store, the artifacts or the queue cannot be used.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The runs that have not ended cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
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

/// An orchestrator that answers.
#[derive(Debug)]
pub struct Orchestrator {
    /// Where calls come in.
    pub grpc: SocketAddr,
    /// Where operators look.
    pub http: SocketAddr,
    /// Where the artifacts lie.
    pub artifacts: PathBuf,
    study: Arc<Study>,
    reconciler: Reconciler,
    closing: CancellationToken,
    deposed: CancellationToken,
    tasks: TaskTracker,
    operators: operations::Answering,
    _data_dir: DataDir,
}

/// Where calls come in.
struct Doors {
    grpc: SocketAddr,
    incoming: Incoming,
}

impl Doors {
    async fn open(config: &GrpcConfig) -> Result<Self, ListenError> {
        let (listener, grpc) = listen::tcp(config.listen, "grpc.listen").await?;
        let mut incoming = Incoming::default().tcp(listener);
        if let Some(socket) = listen::unix(&config.unix_socket, "grpc.unix_socket").await? {
            incoming = incoming.unix(socket);
        }
        Ok(Self { grpc, incoming })
    }
}

impl Orchestrator {
    /// Opens what an earlier one left, goes on with its runs, and answers.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start(
        config: Config,
        wiring: Wiring,
    ) -> LocalBoxFuture<'static, Result<Self, StartError>> {
        // As a trait object, it is compiled here, once, and not anew in each program that awaits it.
        Box::pin(Self::begin(config, wiring))
    }

    async fn begin(config: Config, wiring: Wiring) -> Result<Self, StartError> {
        let metrics = Metrics::register(&wiring.telemetry.registry)?;
        let data_dir = DataDir::open(&config.data_dir)?;
        let (http_listener, http) = listen::tcp(config.http.listen, "http.listen").await?;
        let alone = match config.store.url.as_str() {
            "" => Some(Doors::open(&config.grpc).await?),
            _ => None,
        };
        let seams = &wiring.seams;
        let opening = Backends::open(&config, &data_dir, &wiring.clock, &metrics, seams);
        let backends = Box::pin(opening).await?;
        let (study, lease) = study(&config, &wiring, &data_dir, backends, metrics);
        study.look_on_scrape();
        let closing = CancellationToken::new();
        let compute = channel_within(&wiring.compute, config.idle_timeout);
        let mut checks = checks(&study, compute);
        checks.extend(lease.as_ref().map(|_| leads(&study)));
        let operations = Operations {
            service: SERVICE,
            health: Health::new(checks, closing.clone()),
            telemetry: wiring.telemetry.clone(),
            also_counted: None,
        };
        let operators = operations::start(http_listener, operations).await?;
        // Those that stand by are not listened for: who connects finds the one that leads.
        if let Some(lease) = &lease {
            stand_by(&study, lease).await;
            study.blobs.revalidate();
        }
        let Doors { grpc, mut incoming } = match alone {
            Some(doors) => doors,
            None => Doors::open(&config.grpc).await?,
        };
        if let Some(pipe) = wiring.pipe {
            incoming = incoming.pipe(pipe);
        }
        let concurrent = config.runs.concurrent.get() as usize;
        let reconciler = Reconciler::new(Arc::clone(&study), concurrent);
        let recovered = reconciler.recover().await?;
        let this = Self {
            grpc,
            http,
            artifacts: data_dir.artifacts(),
            reconciler,
            study,
            closing,
            deposed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            operators,
            _data_dir: data_dir,
        };
        let server = server_within(config.idle_timeout);
        this.serve_calls(server, incoming, &wiring.telemetry)
            .await?;
        this.keep_on(lease);
        info!(%grpc, %http, recovered, "orchestrator answers");
        Ok(this)
    }

    /// Does what is to be done again and again, until it is stopped.
    fn keep_on(&self, lease: Option<Lease>) {
        let (study, reconciler) = (Arc::clone(&self.study), self.reconciler.clone());
        let closing = self.closing.clone();
        self.tasks
            .spawn(async move { bury(&study, &reconciler, &closing).await });
        let Some(lease) = lease else { return };
        let (study, deposed) = (Arc::clone(&self.study), self.deposed.clone());
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = keep(&study, &lease) => deposed.cancel(),
                () = closing.cancelled() => {}
            }
        });
    }

    /// Returns when another orchestrator leads. What this one knows is out of date then, and it can
    /// change nothing any more.
    pub async fn deposed(&self) {
        self.deposed.cancelled().await;
    }

    async fn serve_calls(
        &self,
        server: Server,
        incoming: Incoming,
        telemetry: &Telemetry,
    ) -> Result<(), StartError> {
        let api = Api {
            study: Arc::clone(&self.study),
            reconciler: self.reconciler.clone(),
            closing: self.closing.clone(),
        };
        let (health_service, told) =
            health::tell_callers(&Api::SERVICES, self.closing.clone()).await;
        self.tasks.spawn(told);
        // The descriptors are of every service of the house; only those at this port are listed.
        let reflection = || {
            Api::SERVICES
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
            .layer(rpc::Layer::new(telemetry, proto::calls(&Api::SERVICES))?)
            .add_routes(api.routes())
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

    /// Stops taking calls and closes the store. Runs go on where they stood when it starts again.
    pub fn stop(self, patience: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        Box::pin(self.end(patience))
    }

    async fn end(self, patience: BoxFuture<'static, ()>) {
        self.closing.cancel();
        self.reconciler.stop().await;
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => {}
            () = patience => warn!("stopped before every call was answered"),
        }
        if let Err(error) = self.study.store.step_down().await {
            warn!(error = %error, "the next orchestrator has to wait until the lease runs out");
        }
        // What is not up yet goes up when it starts again.
        drop(timeout(DRAIN, self.study.blobs.drain()).await);
        self.study.store.close().await;
        self.operators.stop().await;
    }
}

/// What its parts share, and under what name it leads.
fn study(
    config: &Config,
    wiring: &Wiring,
    data_dir: &DataDir,
    backends: Backends,
    metrics: Metrics,
) -> (Arc<Study>, Option<Lease>) {
    let seams = &wiring.seams;
    let clock = Arc::clone(&wiring.clock);
    let queue = wiring.queue.clone().unwrap_or(backends.queue);
    let queue = with_pins(queue, &clock, config.queue.max_deliveries);
    let queue = Counted::new(queue, Arc::clone(&clock), metrics.queue.clone());
    let engine = channel_within(&wiring.compute, config.idle_timeout)
        .stamped(rpc::stamp)
        .through(seams.clone());
    let study = Study {
        store: backends.store,
        blobs: backends.artifacts,
        spool: data_dir.spool(),
        queue: queue.through(seams.clone()),
        engine: Engine::over(engine),
        fleet: Fleet::new(config.workers.heartbeat),
        clock,
        telemetry: wiring.telemetry.clone(),
        metrics,
        threads: config.runs.threads,
        keep_rounds: config.runs.keep_rounds,
        keeping: Keeping::within(config.artifacts.budget()),
        interval: config.runs.interval,
    };
    (Arc::new(study), backends.lease)
}

/// One that stands by takes no work.
fn leads(study: &Arc<Study>) -> Check {
    let study = Arc::clone(study);
    let leads = move || {
        let leads = study.store.leads();
        ready(leads.then_some(()).ok_or("another orchestrator leads"))
    };
    Check::needed("leader", leads)
}

/// What it depends on. Without a compute-core it still takes jobs and reports, and its runs wait.
fn checks(study: &Arc<Study>, compute: Outgoing) -> Vec<Check> {
    let (store, artifacts, queue) = (Arc::clone(study), Arc::clone(study), Arc::clone(study));
    let store = move || {
        let study = Arc::clone(&store);
        async move { study.store.ping().await }
    };
    let artifacts = move || {
        let study = Arc::clone(&artifacts);
        async move { study.blobs.probe().await }
    };
    let queue = move || {
        let study = Arc::clone(&queue);
        async move { study.queue.depth().await.map(drop) }
    };
    let compute = health::answers(compute, compute_server::SERVICE_NAME);
    vec![
        Check::needed("store", store),
        Check::needed("artifacts", artifacts),
        Check::needed("queue", queue),
        Check::helpful("compute", compute),
    ]
}
