//! An orchestrator in a temporary directory, with a real compute-core beside it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifacts::{ArtifactStore, Key, LocalStore};
use clock::{Clock, SystemClock};
use compute_core::cache::Cache;
use compute_core::service::Service;
use federation::RunId;
use federation::event::Event;
use federation::job::{
    CohortDraft, DatasetDraft, JobDraft, LocalDraft, ModelSource, PartitionDraft, SchemeDraft,
    StopDraft, Strategy,
};
use federation::local::{Optimizer, Schedule};
use federation::model::ModelSpec;
use federation::run::{Command, RunState};
use orchestrator::api::Api;
use orchestrator::datasets::import::{Content, ImportOptions, import};
use orchestrator::dispatch::with_pins;
use orchestrator::fleet::Fleet;
use orchestrator::metrics::Metrics;
use orchestrator::reconciler::Reconciler;
use orchestrator::retention::Keeping;
use orchestrator::store::{Place, Receipt, RunRow, Store};
use orchestrator::study::Study;
use orchestrator::submit::submit;
use proto::engine::Engine;
use proto::transport::Outgoing;
use proto::transport::{Address, Incoming, Pipe, channel, server};
use proto::v1::compute_server::ComputeServer;
use seams::Seams;
use sqlx::SqlitePool;
use task_queue::{Counted, MAX_DELIVERIES, MemoryQueue};
use telemetry::Telemetry;
use telemetry::export::Outbox;
use telemetry::metrics::{IntCounter, Registry, exposition};
use telemetry::trace::{Sampler, SpanRecord, Tracer};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long something that is bound to happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a test chooses.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) concurrent: usize,
    pub(crate) keep_rounds: u32,
    /// Bytes that the artifacts may take.
    pub(crate) budget: Option<u64>,
    /// Tasks that the queue holds at most.
    pub(crate) queue: usize,
    pub(crate) clock: Arc<dyn Clock>,
    /// An hour, where nothing may depend on it.
    pub(crate) interval: Duration,
    /// Who hears what the artifacts are asked for.
    pub(crate) artifacts: Seams,
    /// Who hears what compute-core is asked for.
    pub(crate) calls: Seams,
    /// Who hears what the run store is asked for.
    pub(crate) store: Seams,
    /// Who hears what the queue is asked for.
    pub(crate) tasks: Seams,
    /// Bytes that the orchestrator's compute-core may use.
    pub(crate) memory_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            concurrent: 20,
            keep_rounds: 3,
            budget: None,
            queue: 1000,
            clock: Arc::new(SystemClock::default()),
            interval: Duration::from_secs(3600),
            artifacts: Seams::default(),
            calls: Seams::default(),
            store: Seams::default(),
            tasks: Seams::default(),
            memory_bytes: 1 << 40,
        }
    }
}

/// An orchestrator that answers, and what it works with.
pub(crate) struct World {
    pub(crate) study: Arc<Study>,
    pub(crate) reconciler: Reconciler,
    pub(crate) channel: Outgoing,
    /// The spans of all that happened, over restarts.
    pub(crate) outbox: Arc<Outbox<SpanRecord>>,
    pub(crate) closing: CancellationToken,
    compute: Address,
    rules: Rules,
    dir: TempDir,
}

impl World {
    /// A world with the data set `d`: 48 rows in training, 12 for tests, three classes.
    pub(crate) async fn new(rules: Rules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self::open(dir, serve_compute(rules.memory_bytes), rules, outbox()).await;
        let path = world.dir.path().join("d.csv");
        std::fs::write(&path, table()).unwrap();
        let options = ImportOptions {
            name: "d".to_owned(),
            content: Content::Table {
                label: "label".to_owned(),
                standardize: true,
            },
            test_fraction: 0.2,
            seed: 7,
            replace: false,
            file_name: "d.csv".to_owned(),
        };
        let study = &world.study;
        let imported = import(&study.store, &study.blobs, options, &path, study.now());
        imported.await.unwrap();
        world
    }

    async fn open(
        dir: TempDir,
        compute: Address,
        rules: Rules,
        outbox: Arc<Outbox<SpanRecord>>,
    ) -> Self {
        std::fs::create_dir_all(dir.path().join("spool")).unwrap();
        let telemetry = Telemetry {
            tracer: Tracer::new("test", Sampler::all(), Some(Arc::clone(&outbox))),
            ..Telemetry::quiet("test").unwrap()
        };
        let metrics = Metrics::register(&telemetry.registry).unwrap();
        let path = dir.path().join("runs.sqlite");
        let place = Place::Sqlite(path);
        let store = Store::open(&place, metrics.store.clone()).await.unwrap();
        let store = store.through(rules.store.clone());
        let blobs = LocalStore::open(dir.path().join("artifacts")).unwrap();
        let blobs = blobs.counted(metrics.artifacts.clone());
        let blobs = blobs.through(rules.artifacts.clone());
        let queue = MemoryQueue::with_capacity(Arc::clone(&rules.clock), rules.queue);
        let queue = with_pins(Arc::new(queue), &rules.clock, MAX_DELIVERIES);
        let study = Arc::new(Study {
            store,
            blobs: ArtifactStore::local(blobs),
            spool: dir.path().join("spool"),
            queue: Counted::new(queue, Arc::clone(&rules.clock), metrics.queue.clone())
                .through(rules.tasks.clone()),
            engine: Engine::over(channel(&compute).through(rules.calls.clone())),
            fleet: Fleet::new(Duration::from_secs(2)),
            clock: Arc::clone(&rules.clock),
            telemetry,
            metrics,
            threads: NonZeroUsize::MIN,
            keep_rounds: rules.keep_rounds,
            keeping: Keeping::within(rules.budget),
            interval: rules.interval,
        });
        study.look_on_scrape();
        let reconciler = Reconciler::new(Arc::clone(&study), rules.concurrent);
        let closing = CancellationToken::new();
        let api = Api {
            study: Arc::clone(&study),
            reconciler: reconciler.clone(),
            closing: closing.clone(),
        };
        let pipe = Pipe::default();
        let incoming = Incoming::default().pipe(pipe.listen());
        let serving = server().add_routes(api.routes());
        let closed = closing.clone().cancelled_owned();
        let serving = serving.serve_with_incoming_shutdown(incoming.connections(), closed);
        tokio::spawn(async move { serving.await.unwrap() });
        reconciler.recover().await.unwrap();
        Self {
            study,
            reconciler,
            channel: channel(&Address::Pipe(pipe)),
            outbox,
            closing,
            compute,
            rules,
            dir,
        }
    }

    /// Stops, lets `meanwhile` do what it wants with the run store's file, and goes on.
    pub(crate) async fn restart(self, meanwhile: &[&'static str]) -> Self {
        self.restart_timed(meanwhile).await.0
    }

    /// The same, and when it went on.
    pub(crate) async fn restart_timed(self, meanwhile: &[&'static str]) -> (Self, Instant) {
        self.closing.cancel();
        self.reconciler.stop().await;
        self.study.store.close().await;
        self.sql(meanwhile).await;
        let begun = Instant::now();
        let world = Self::open(self.dir, self.compute, self.rules, self.outbox).await;
        (world, begun)
    }

    /// Stops, and goes on with another budget.
    pub(crate) async fn restart_within(mut self, budget: Option<u64>) -> Self {
        self.rules.budget = budget;
        self.restart(&[]).await
    }

    /// Changes the run store behind the orchestrator's back.
    pub(crate) async fn sql(&self, statements: &[&'static str]) {
        sql(&self.dir.path().join("runs.sqlite"), statements).await;
    }

    /// The numbers that a scrape sees now.
    pub(crate) fn numbers(&self) -> String {
        let snapshot = self.study.telemetry.registry.snapshot();
        exposition::text(&snapshot).unwrap()
    }

    /// Waits until a scrape sees all of `lines`.
    pub(crate) async fn until_shown(&self, lines: &[&str]) {
        let missing = |text: &str| {
            let shows = |line: &&&str| text.lines().any(|own| own == **line);
            let missing = lines.iter().filter(|line| !shows(line));
            missing.copied().collect::<Vec<_>>()
        };
        let looking = async {
            while !missing(&self.numbers()).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            let text = self.numbers();
            panic!("{:#?} are missing in\n{text}", missing(&text));
        }
    }

    pub(crate) async fn submit(&self, job: JobDraft) -> RunId {
        let (row, _) = submit(&self.study, job, Study::new_key()).await.unwrap();
        self.reconciler.start(row.run);
        row.run
    }

    pub(crate) async fn command(&self, run: RunId, command: Command) {
        let commanded = self.study.store.command(run, command, self.study.now());
        commanded.await.unwrap().unwrap().unwrap();
        self.reconciler.wake(run).await;
    }

    pub(crate) async fn row(&self, run: RunId) -> RunRow {
        self.study.store.run(run).await.unwrap().unwrap()
    }

    pub(crate) async fn receipts(&self, run: RunId, round: u32) -> Vec<Receipt> {
        self.study.store.receipts(run, round).await.unwrap()
    }

    pub(crate) async fn events(&self, run: RunId) -> Vec<Event> {
        let events = self.study.store.events_after(run, 0).await.unwrap();
        events.into_iter().map(|stored| stored.event).collect()
    }

    /// Where the model of a round lies in the directory.
    pub(crate) fn model_file(&self, run: RunId, round: u32) -> PathBuf {
        let manifest = Key::checkpoint_manifest(run, round);
        let manifest = self.study.blobs.path_of(&manifest);
        let files = std::fs::read_dir(manifest.parent().unwrap()).unwrap();
        let begins = format!("{round:05}.");
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(&begins) && path.extension().unwrap() == "safetensors"
        };
        let mut paths = files.map(|file| file.unwrap().path());
        paths.find(is_it).unwrap()
    }

    /// Waits until `look` finds something, looking after each commit of events.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let mut commits = self.study.store.commits();
        let looking = async {
            loop {
                commits.catch_up();
                if let Some(found) = look().await {
                    return found;
                }
                commits.rung().await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_elapsed) => panic!("{what}: not so after {PATIENCE:?}"),
        }
    }

    pub(crate) async fn until_state(&self, run: RunId, state: RunState) -> RunRow {
        self.until(state.as_str(), async || {
            let row = self.row(run).await;
            let wrong_end = row.state.is_final() && row.state != state;
            assert!(!wrong_end, "{}: {}", row.state, row.reason);
            (row.state == state).then_some(row)
        })
        .await
    }

    /// Returns when so many rounds are committed.
    pub(crate) async fn until_committed(&self, run: RunId, rounds: u32) {
        self.until("a committed round", async || {
            (self.row(run).await.rounds_committed >= rounds).then_some(())
        })
        .await;
    }

    pub(crate) async fn until_event(&self, run: RunId, what: &str, is: impl Fn(&Event) -> bool) {
        self.until(what, async || {
            self.events(run).await.iter().any(&is).then_some(())
        })
        .await;
    }
}

fn outbox() -> Arc<Outbox<SpanRecord>> {
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    // Every span wakes whoever waits for one.
    Arc::new(Outbox::new(100_000, 1, dropped))
}

/// Changes a run store behind everybody's back.
pub(crate) async fn sql(path: &Path, statements: &[&'static str]) {
    let url = format!("sqlite:{}", path.display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

fn serve_compute(memory_bytes: u64) -> Address {
    let metrics =
        compute_core::metrics::Metrics::register(&Registry::new("test").unwrap()).unwrap();
    let cache = Cache::new(1 << 20);
    let service =
        Service::new(cache, NonZeroUsize::MIN, NonZeroUsize::MIN, metrics).within(memory_bytes);
    let pipe = Pipe::default();
    let incoming = Incoming::default().pipe(pipe.listen());
    let serving = server()
        .add_service(ComputeServer::new(service))
        .serve_with_incoming(incoming.connections());
    tokio::spawn(async move { serving.await.unwrap() });
    Address::Pipe(pipe)
}

pub(crate) fn table() -> String {
    let row = |number: i32| {
        let label = number % 3;
        format!("{}.5,{},{label}\n", label * 4 + number % 5, number % 7)
    };
    let rows: String = (0..60).map(row).collect();
    format!("x,y,label\n{rows}")
}

/// A softmax regression among `clients`, for `rounds`.
pub(crate) fn job(clients: u32, rounds: u32) -> JobDraft {
    JobDraft {
        name: "j".to_owned(),
        model: ModelSource::Spec(ModelSpec::SoftmaxRegression),
        dataset: DatasetDraft {
            name: "d".to_owned(),
            partition: PartitionDraft {
                scheme: SchemeDraft::Iid,
                clients,
                seed: None,
            },
        },
        local: LocalDraft {
            epochs: Some(2),
            steps: None,
            batch_size: 8,
            schedule: Schedule::Constant,
            clip_norm: None,
            optimizer: Optimizer::Sgd {
                learning_rate: 0.1,
                momentum: 0.0,
                weight_decay: 0.0,
            },
        },
        strategy: Strategy::default(),
        rounds,
        cohort: CohortDraft::default(),
        stop: StopDraft::default(),
        seed: 7,
        kernel_class: None,
        publish_as: None,
    }
}

pub(crate) fn with_quorum(quorum: f64, deadline: Duration, job: JobDraft) -> JobDraft {
    JobDraft {
        cohort: CohortDraft {
            quorum,
            deadline,
            ..job.cohort
        },
        ..job
    }
}
