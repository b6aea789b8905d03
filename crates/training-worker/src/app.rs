//! A training-worker as a process: connected, working, drained.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clock::Clock;
use futures::future::{BoxFuture, LocalBoxFuture};
use proto::engine::Engine;
use proto::transport::listen::{self, ListenError};
use proto::transport::{Address, Outgoing, channel_within};
use proto::v1::compute_server;
use proto::v1::worker_message::Hello;
use seams::Seams;
use telemetry::health::{self, Check, Health};
use telemetry::operations::{self, Operations};
use telemetry::{Telemetry, rpc};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::Config;
use crate::curves::Curves;
use crate::lease::Workshop;
use crate::metrics::Metrics;
use crate::remote::{RemoteQueue, RemoteStore};
use crate::session::Session;

/// The service's name in logs, metrics and health.
pub const SERVICE: &str = "pangea-training-worker";

/// What comes from outside of the configuration.
#[derive(Debug)]
pub struct Wiring {
    /// What it shows of itself.
    pub telemetry: Telemetry,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The orchestrator.
    pub orchestrator: Address,
    /// The compute-core.
    pub compute: Address,
    /// Who hears of its calls.
    pub seams: Seams,
}

/// Why a worker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A port is taken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A metric's name is taken.
    #[error(transparent)]
    Metrics(#[from] telemetry::metrics::Error),
    /// Operators cannot look at it.
    #[error(transparent)]
    Operations(#[from] operations::StartError),
}

/// A worker at work.
#[derive(Debug)]
pub struct TrainingWorker {
    /// What it is called.
    pub id: String,
    /// Where operators look.
    pub http: SocketAddr,
    drain: CancellationToken,
    stop: CancellationToken,
    closing: CancellationToken,
    work: TaskTracker,
    tasks: TaskTracker,
    operators: operations::Answering,
}

impl TrainingWorker {
    /// Connects and begins to work; the orchestrator may come later.
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
        let (http, http_at) = listen::tcp(config.http.listen, "http.listen").await?;
        let id = if config.id.is_empty() {
            random_name()
        } else {
            config.id
        };
        let drain = CancellationToken::new();
        let hello = hello(&id, config.slots.get());
        let session = Session::new(hello, drain.clone()).through(wiring.seams.clone());
        let idle_timeout = config.idle_timeout;
        let compute = channel_within(&wiring.compute, idle_timeout);
        let operations = Operations {
            service: SERVICE,
            health: Health::new(checks(&session, compute), drain.clone()),
            telemetry: wiring.telemetry.clone(),
            also_counted: None,
        };
        let this = Self {
            id: id.clone(),
            http: http_at,
            drain,
            stop: CancellationToken::new(),
            closing: CancellationToken::new(),
            work: TaskTracker::new(),
            tasks: TaskTracker::new(),
            operators: operations::start(http, operations).await?,
        };
        let calling = |address| {
            channel_within(address, idle_timeout)
                .stamped(rpc::stamp)
                .through(wiring.seams.clone())
        };
        let orchestrator = calling(&wiring.orchestrator);
        let curves = Curves::new(
            metrics.clone(),
            &wiring.telemetry.registry,
            Arc::clone(&wiring.clock),
        );
        let workshop = Workshop {
            queue: Arc::new(RemoteQueue::new(id, orchestrator.clone())),
            // A connection of its own: on a slow line, what is large must not hold back what keeps
            // a lease.
            store: Arc::new(RemoteStore::new(
                calling(&wiring.orchestrator),
                wiring.orchestrator.chunk_bytes(),
            )),
            engine: Engine::over(calling(&wiring.compute)),
            session: session.clone(),
            clock: Arc::clone(&wiring.clock),
            lease: config.lease,
            idle_timeout,
            lacked: AtomicBool::new(true),
            served: AtomicBool::new(false),
            metrics: metrics.clone(),
            curves,
            telemetry: wiring.telemetry.clone(),
        };
        let (workshop, slots) = (Arc::new(workshop), config.slots);
        let (drain, stop) = (this.drain.clone(), this.stop.clone());
        this.work
            .spawn(async move { workshop.work(slots, &drain, &stop).await });
        let clock = wiring.clock;
        this.until_closing(async move { session.run(orchestrator, clock, metrics).await });
        info!(worker = this.id, http = %http_at, orchestrator = %wiring.orchestrator, "worker answers");
        Ok(this)
    }

    /// Returns when the orchestrator has told this worker to end.
    pub async fn told_to_end(&self) {
        self.drain.cancelled().await;
    }

    /// Leases nothing new, lets the task in hand finish until `patience` ends, then gives it back.
    pub fn stop(self, patience: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        Box::pin(self.end(patience))
    }

    async fn end(self, patience: BoxFuture<'static, ()>) {
        self.drain.cancel();
        self.work.close();
        tokio::select! {
            biased;
            () = self.work.wait() => {}
            () = patience => {
                warn!("tasks in hand are given back");
                self.stop.cancel();
                self.work.wait().await;
            }
        }
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.operators.stop().await;
    }

    fn until_closing(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = work => {}
                () = closing.cancelled() => {}
            }
        });
    }
}

/// What it depends on: without either there is no task that it can do.
fn checks(session: &Session, compute: Outgoing) -> Vec<Check> {
    let connected = session.connected();
    let orchestrator = move || {
        let has_session = connected.borrow().is_some();
        ready(has_session.then_some(()).ok_or("there is no session"))
    };
    let compute = health::answers(compute, compute_server::SERVICE_NAME);
    vec![
        Check::needed("orchestrator", orchestrator),
        Check::needed("compute", compute),
    ]
}

/// What the session begins with. Kernels are told when compute-core has said which it has.
fn hello(worker: &str, slots: u32) -> Hello {
    Hello {
        worker: worker.to_owned(),
        slots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host_name(),
        ..Hello::default()
    }
}

fn random_name() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("worker-{}", &id[..8])
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(
        |_unknown| "unknown".to_owned(),
        |name| name.trim().to_owned(),
    )
}
