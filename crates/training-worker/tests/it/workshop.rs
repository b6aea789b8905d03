//! A workshop with all that it needs: a queue, a store, a compute-core, and an orchestrator that
//! accepts whatever is reported.

use std::future::Future;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use artifacts::{BlobStore, Key, Kind, LocalStore};
use async_trait::async_trait;
use bytes::Bytes;
use clock::{Clock, SystemClock};
use compute_core::cache::Cache;
use compute_core::engine::initial_parameters;
use compute_core::service::Service;
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, ModelSpec};
use federation::{ClientId, Digest, RunId, TaskId};
use proto::body;
use proto::engine::Engine;
use proto::transport::{Address, Incoming, Pipe, channel, server};
use proto::v1::compute_server::ComputeServer;
use proto::v1::orchestrator_message::{Kind as Told, Verdict, Welcome};
use proto::v1::worker_message::{Hello, Kind as Said};
use proto::v1::workers_server::{Workers, WorkersServer};
use proto::v1::{
    BlobRef, Body, DrainWorkerRequest, DrainWorkerResponse, Dtype, ListWorkersRequest,
    ListWorkersResponse, OrchestratorMessage, TensorMeta, TrainTask, WorkerMessage,
};
use seams::Seams;
use task_queue::{MemoryQueue, TaskMessage, TaskQueue};
use telemetry::Telemetry;
use telemetry::export::Outbox;
use telemetry::metrics::{IntCounter, Registry, exposition};
use telemetry::trace::{Sampler, SpanRecord, Tracer};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use training_worker::config::LeaseConfig;
use training_worker::curves::Curves;
use training_worker::lease::Workshop;
use training_worker::metrics::Metrics;
use training_worker::session::Session;

/// Longer than any test takes where nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rows of the shard, and numbers in each.
pub(crate) const ROWS: usize = 30;
const COLUMNS: usize = 6;
const CLASSES: usize = 3;

/// What may not last longer than [`PATIENCE`].
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

/// A workshop, and what its neighbours saw.
pub(crate) struct Scene {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) store: LocalStore,
    /// Reports that the orchestrator has accepted.
    pub(crate) reports: mpsc::UnboundedReceiver<Said>,
    spans: Arc<Outbox<SpanRecord>>,
    _dir: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(SystemClock::default()))
    }

    /// A scene where the worker's time is `clock`.
    pub(crate) fn on(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().to_owned()).unwrap();
        let queue = Arc::new(MemoryQueue::new(Arc::clone(&clock)));
        let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
        let spans = Arc::new(Outbox::new(1000, 1000, dropped));
        let telemetry = Telemetry {
            tracer: Tracer::new("worker", Sampler::all(), Some(Arc::clone(&spans))),
            ..Telemetry::quiet("worker").unwrap()
        };
        let metrics = Metrics::register(&telemetry.registry).unwrap();
        let hello = Hello {
            worker: "w1".to_owned(),
            ..Hello::default()
        };
        let session = Session::new(hello, CancellationToken::new());
        let (orchestrator, reports) = serve_orchestrator();
        tokio::spawn({
            let (session, metrics) = (session.clone(), metrics.clone());
            let clock = Arc::clone(&clock);
            async move { session.run(channel(&orchestrator), clock, metrics).await }
        });
        let workshop = Workshop {
            queue: Arc::clone(&queue) as Arc<dyn TaskQueue>,
            store: Arc::new(store.clone()),
            engine: Engine::over(channel(&serve_compute(Seams::default()))),
            curves: Curves::new(metrics.clone(), &telemetry.registry, Arc::clone(&clock)),
            session,
            clock,
            lease: LeaseConfig::default(),
            idle_timeout: proto::transport::IDLE_TIMEOUT,
            lacked: AtomicBool::new(true),
            served: AtomicBool::new(false),
            metrics,
            telemetry,
        };
        Self {
            workshop: Arc::new(workshop),
            queue,
            store,
            reports,
            spans,
            _dir: dir,
        }
    }

    /// A task that asks for two passes over a shard whose labels are below `labels`; above the
    /// model's three classes they fit no model.
    pub(crate) async fn task(&self, labels: i64) -> TrainTask {
        self.task_of(&model(), labels).await
    }

    /// As [`Self::task`], of any model that fits the rows.
    pub(crate) async fn task_of(&self, model: &Architecture, labels: i64) -> TrainTask {
        let parameters = body::into_bytes(initial_parameters(model, 7));
        let labels: Vec<i64> = (0..labels).cycle().take(ROWS).collect();
        let features: Vec<f32> = (0..ROWS * COLUMNS).map(|i| (i % 7) as f32 / 7.0).collect();
        let shard = [body::as_bytes(&labels), body::as_bytes(&features)].concat();
        let tensor = |name: &str, dtype: Dtype, shape: &[usize]| TensorMeta {
            name: name.to_owned(),
            dtype: dtype.into(),
            shape: shape.iter().map(|&side| side as u64).collect(),
        };
        let rows = vec![
            tensor("labels", Dtype::I64, &[ROWS]),
            tensor("features", Dtype::F32, &[ROWS, COLUMNS]),
        ];
        let tensors = body::parameter_tensors(model);
        TrainTask {
            task: task_id().to_string(),
            model: Some(model.into()),
            parameters: Some(self.put(Kind::Model, tensors, parameters).await),
            shard: Some(self.put(Kind::Shard, rows, shard.into()).await),
            local: Some((&local()).into()),
            seed: 9,
            kernel_class: String::new(),
        }
    }

    async fn put(&self, kind: Kind, tensors: Vec<TensorMeta>, bytes: Bytes) -> BlobRef {
        let digest = Digest::of(&bytes);
        let key = Key::content(kind, &digest);
        let length_bytes = bytes.len() as u64;
        self.store.put(&key, bytes).await.unwrap();
        BlobRef {
            key: key.to_string(),
            offset_bytes: 0,
            body: Some(Body {
                digest: digest.to_string(),
                length_bytes,
                tensors,
            }),
        }
    }

    pub(crate) async fn send(&self, task: &TrainTask, attributes: &[(&str, &str)]) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let message = TaskMessage {
            body: task.to_bytes(),
            attributes: attributes.iter().map(own).collect(),
        };
        self.queue.send(vec![message]).await.unwrap();
    }

    /// Has the workshop work until `tasks` tasks have ended, and yields the reports.
    pub(crate) async fn work(&mut self, tasks: usize) -> Vec<Said> {
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let working = self.working(&drain, &stop);
        let reports = async {
            let mut reports = Vec::new();
            while reports.len() < tasks {
                reports.push(self.reports.recv().await.unwrap());
            }
            drain.cancel();
            reports
        };
        let (reports, ()) = soon(async { tokio::join!(reports, working) }).await;
        reports
    }

    /// Has the workshop work in one slot.
    pub(crate) fn working<'a>(
        &self,
        drain: &'a CancellationToken,
        stop: &'a CancellationToken,
    ) -> impl Future<Output = ()> + use<'a> {
        Arc::clone(&self.workshop).work(NonZeroU32::MIN, drain, stop)
    }

    /// The workshop, which does not work yet.
    pub(crate) fn workshop_mut(&mut self) -> &mut Workshop {
        Arc::get_mut(&mut self.workshop).expect("it works")
    }

    pub(crate) fn spans(&self) -> Vec<SpanRecord> {
        self.spans.take()
    }

    /// All numbers, as Prometheus gets them.
    pub(crate) fn numbers(&self) -> String {
        exposition::text(&self.workshop.telemetry.registry.snapshot()).unwrap()
    }
}

pub(crate) fn model() -> Architecture {
    let spec = ModelSpec::SoftmaxRegression;
    spec.architecture(COLUMNS, CLASSES).unwrap()
}

/// A model whose updates are too large to go with a report.
pub(crate) fn large_model() -> Architecture {
    let spec = ModelSpec::Mlp {
        hidden: vec![2048],
        activation: Activation::Relu,
    };
    spec.architecture(COLUMNS, CLASSES).unwrap()
}

/// Two passes of two steps each.
fn local() -> LocalTraining {
    LocalTraining {
        duration: LocalDuration::Epochs(2),
        batch_size: 16,
        schedule: Schedule::Constant,
        clip_norm: None,
        optimizer: Optimizer::Sgd {
            learning_rate: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
        },
    }
}

pub(crate) fn task_id() -> TaskId {
    TaskId {
        run: run_id(),
        round: 3,
        client: ClientId(7),
        attempt: 1,
    }
}

pub(crate) fn run_id() -> RunId {
    "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
}

pub(crate) fn serve_compute(seams: Seams) -> Address {
    let metrics = compute_core::metrics::Metrics::register(&Registry::new("core").unwrap());
    let cache = Cache::new(1 << 20);
    let service = Service::new(
        cache,
        NonZeroUsize::MIN,
        NonZeroUsize::MIN,
        metrics.unwrap(),
    )
    .through(seams);
    let pipe = Pipe::default();
    let incoming = Incoming::default().pipe(pipe.listen());
    let serving = server()
        .add_service(ComputeServer::new(service))
        .serve_with_incoming(incoming.connections());
    tokio::spawn(async move { serving.await.unwrap() });
    Address::Pipe(pipe)
}

fn serve_orchestrator() -> (Address, mpsc::UnboundedReceiver<Said>) {
    let (reported, reports) = mpsc::unbounded_channel();
    let yes = Yes { reported };
    let pipe = Pipe::default();
    let incoming = Incoming::default().pipe(pipe.listen());
    let serving = server()
        .add_service(WorkersServer::new(yes))
        .serve_with_incoming(incoming.connections());
    tokio::spawn(async move { serving.await.unwrap() });
    (Address::Pipe(pipe), reports)
}

/// Accepts every report.
struct Yes {
    reported: mpsc::UnboundedSender<Said>,
}

#[async_trait]
impl Workers for Yes {
    type SessionStream = ReceiverStream<Result<OrchestratorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut said = request.into_inner();
        let (answers, stream) = mpsc::channel(16);
        let reported = self.reported.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = said.message().await {
                let answer = match message.kind {
                    Some(Said::Hello(_)) => Told::Welcome(Welcome {
                        heartbeat_interval_ms: 60_000,
                    }),
                    Some(report @ (Said::Done(_) | Said::Failed(_))) => {
                        let answer = accept(&report);
                        reported.send(report).unwrap_or_default();
                        answer
                    }
                    _ => continue,
                };
                let told = OrchestratorMessage { kind: Some(answer) };
                answers.send(Ok(told)).await.unwrap_or_default();
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn drain(
        &self,
        _: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

fn accept(report: &Said) -> Told {
    let task = match report {
        Said::Done(done) => done.task.clone(),
        Said::Failed(failed) => failed.task.clone(),
        _ => String::new(),
    };
    Told::Verdict(Verdict {
        task,
        accepted: true,
        ..Verdict::default()
    })
}
