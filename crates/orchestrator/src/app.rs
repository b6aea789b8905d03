//! The orchestrator as a process: built, recovered, announced, served, drained.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use artifacts::LocalStore;
use clock::Clock;
use proto::engine::Engine;
use proto::transport::listen::{self, ListenError};
use proto::transport::{Address, Incoming, Outgoing, PipeListener, channel, server};
use proto::v1::compute_server;
use seams::Seams;
use task_queue::{Counted, MemoryQueue, TaskQueue};
use telemetry::health::{self, Check, Health};
use telemetry::operations::{self, Operations};
use telemetry::{Telemetry, rpc};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_reflection::server as reflection;
use tracing::{info, warn};

use crate::api::Api;
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::reconciler::Reconciler;
use crate::retention::Keeping;
use crate::store::{Store, StoreError};
use crate::study::Study;

/// The service's name in logs, metrics and health.
pub const SERVICE: &str = "pangea-orchestrator";

/// Services at the port besides our own.
const ALSO_SERVED: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

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
    /// Who hears of its calls.
    pub seams: Seams,
}

/// Why the orchestrator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The run store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The artifacts cannot be used.
    #[error(transparent)]
    Artifacts(#[from] artifacts::OpenError),
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
    tasks: TaskTracker,
    operators: operations::Answering,
    _data_dir: DataDir,
}

impl Orchestrator {
    /// Opens what an earlier one left, goes on with its runs, and answers.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(config: Config, wiring: Wiring) -> Result<Self, StartError> {
        let metrics = Metrics::register(&wiring.telemetry.registry)?;
        let data_dir = DataDir::open(&config.data_dir)?;
        let (listener, grpc) = listen::tcp(config.grpc.listen, "grpc.listen").await?;
        let (http_listener, http) = listen::tcp(config.http.listen, "http.listen").await?;
        let socket = listen::unix(&config.grpc.unix_socket, "grpc.unix_socket").await?;
        let queue = Arc::new(MemoryQueue::new(Arc::clone(&wiring.clock)));
        let study = Arc::new(Study {
            store: Store::open(&data_dir.store(), metrics.store.clone())
                .await?
                .through(wiring.seams.clone()),
            blobs: LocalStore::open(data_dir.artifacts())?
                .counted(metrics.artifacts.clone())
                .through(wiring.seams.clone()),
            spool: data_dir.spool(),
            queue: Counted::new(queue, Arc::clone(&wiring.clock), metrics.queue.clone())
                .through(wiring.seams.clone()),
            engine: Engine::over(
                channel(&wiring.compute)
                    .stamped(rpc::stamp)
                    .through(wiring.seams.clone()),
            ),
            fleet: Fleet::new(config.workers.heartbeat),
            clock: wiring.clock,
            telemetry: wiring.telemetry.clone(),
            metrics,
            threads: config.runs.threads,
            keep_rounds: config.runs.keep_rounds,
            keeping: Keeping::within(None),
            interval: config.runs.interval,
        });
        study.look_on_scrape();
        let concurrent = config.runs.concurrent.get() as usize;
        let reconciler = Reconciler::new(Arc::clone(&study), concurrent);
        let recovered = reconciler.recover().await?;
        let closing = CancellationToken::new();
        let operations = Operations {
            service: SERVICE,
            health: Health::new(checks(&study, channel(&wiring.compute)), closing.clone()),
            telemetry: wiring.telemetry.clone(),
            also_counted: None,
        };
        let this = Self {
            grpc,
            http,
            artifacts: data_dir.artifacts(),
            reconciler,
            study,
            closing,
            tasks: TaskTracker::new(),
            operators: operations::start(http_listener, operations).await?,
            _data_dir: data_dir,
        };
        let mut incoming = Incoming::default().tcp(listener);
        if let Some(socket) = socket {
            incoming = incoming.unix(socket);
        }
        if let Some(pipe) = wiring.pipe {
            incoming = incoming.pipe(pipe);
        }
        this.serve_calls(incoming, &wiring.telemetry).await?;
        info!(%grpc, %http, recovered, "orchestrator answers");
        Ok(this)
    }

    async fn serve_calls(
        &self,
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
        let serving = server()
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
    pub async fn stop(self, patience: impl Future<Output = ()>) {
        self.closing.cancel();
        self.reconciler.stop().await;
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = patience => warn!("stopped before every call was answered"),
        }
        self.study.store.close().await;
        self.operators.stop().await;
    }
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
