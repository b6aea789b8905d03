//! The orchestrator's services over a queue and a store of a test, at the end of a pipe.

use std::sync::Arc;
use std::time::Duration;

use artifacts::LocalStore;
use clock::{Clock, SystemClock};
use orchestrator::api::Api;
use orchestrator::fleet::Fleet;
use orchestrator::metrics::Metrics;
use orchestrator::reconciler::Reconciler;
use orchestrator::store::{Place, Store};
use orchestrator::study::Study;
use proto::engine::Engine;
use proto::transport::Outgoing;
use proto::transport::{Address, Incoming, Pipe, channel, server};
use task_queue::{Counted, MemoryQueue, TaskQueue};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// An orchestrator without runs.
pub(crate) struct Served {
    /// Its own queue.
    pub(crate) queue: Arc<dyn TaskQueue>,
    /// Its own store.
    pub(crate) blobs: LocalStore,
    /// The way to its services.
    pub(crate) channel: Outgoing,
    pipe: Pipe,
    /// Where its files lie, for as long as this lives.
    pub(crate) dir: TempDir,
}

impl Served {
    /// Another connection, as of another worker.
    pub(crate) fn connect(&self) -> Outgoing {
        channel(&Address::Pipe(self.pipe.clone()))
    }
}

/// Serves an orchestrator that has nothing to decide.
pub(crate) async fn serve() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let queue: Arc<dyn TaskQueue> = Arc::new(MemoryQueue::new(Arc::clone(&clock)));
    let blobs = LocalStore::open(dir.path().join("artifacts")).unwrap();
    let telemetry = Telemetry::quiet("test").unwrap();
    let metrics = Metrics::register(&telemetry.registry).unwrap();
    let place = Place::Sqlite(dir.path().join("runs.sqlite"));
    let store = Store::open(&place, metrics.store.clone()).await.unwrap();
    let counted = Counted::new(
        Arc::clone(&queue),
        Arc::clone(&clock),
        metrics.queue.clone(),
    );
    let study = Arc::new(Study {
        store,
        blobs: artifacts::ArtifactStore::local(blobs.clone()),
        spool: dir.path().to_owned(),
        queue: counted,
        engine: Engine::over(channel(&Address::Pipe(Pipe::default()))),
        fleet: Fleet::new(Duration::from_secs(2)),
        clock,
        telemetry,
        metrics,
        threads: std::num::NonZeroUsize::MIN,
        keep_rounds: 3,
        keeping: orchestrator::retention::Keeping::within(None),
        interval: Duration::from_secs(1),
    });
    let api = Api {
        reconciler: Reconciler::new(Arc::clone(&study), 1),
        study,
        closing: CancellationToken::new(),
    };
    let pipe = Pipe::default();
    let incoming = Incoming::default().pipe(pipe.listen());
    let serving = server()
        .add_routes(api.routes())
        .serve_with_incoming(incoming.connections());
    tokio::spawn(async move { serving.await.unwrap() });
    Served {
        queue,
        blobs,
        channel: channel(&Address::Pipe(pipe.clone())),
        pipe,
        dir,
    }
}
