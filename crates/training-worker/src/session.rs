//! The worker's session with the orchestrator: what it does one way, what it should do the other.
//!
//! One task owns the stream and opens it again whenever it breaks. Reports wait in a table until
//! their verdict comes, and are sent again on each new stream, so a report outlives a restart of
//! the orchestrator.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;
use proto::transport::Outgoing;
use proto::v1::orchestrator_message::{Kind as Told, Verdict};
use proto::v1::worker_message::{Capabilities, Heartbeat, Hello, Kind as Said, Pong};
use proto::v1::workers_client::WorkersClient;
use proto::v1::{OrchestratorMessage, WorkerMessage};
use seams::bell::Bell;
use seams::{Seam, Seams};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::metrics::Metrics;

/// Messages that may wait for the stream: a heartbeat, and progress and a report for each slot.
const OUTBOX: usize = 64;

/// Until the orchestrator says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A session that stands for this long is the end of an outage: the next one is opened without
/// delay, and told of. One that ends sooner belongs to the outage before it.
const LASTED: Duration = Duration::from_secs(2);

/// Cancelled runs that are remembered. Older ones have no tasks left by then, and if one has, its
/// report is refused.
const CANCELLED_MAX: usize = 4096;

/// A handle on the session.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hello: Hello,
    engine: Mutex<Capabilities>,
    at_work: Mutex<BTreeSet<String>>,
    // By the number of each: a task that was delivered twice may be reported twice at one time.
    reports: Mutex<BTreeMap<u64, Report>>,
    reported: AtomicU64,
    outbox: watch::Sender<Option<mpsc::Sender<WorkerMessage>>>,
    cancelled: Mutex<HashSet<String>>,
    cancels: Bell,
    drain: CancellationToken,
    seams: Seams,
}

#[derive(Debug)]
struct Report {
    task: String,
    message: Said,
    verdict: oneshot::Sender<Verdict>,
}

impl Session {
    /// A session that is not open yet. `drain` is cancelled when the orchestrator asks for it.
    #[must_use]
    pub fn new(hello: Hello, drain: CancellationToken) -> Self {
        let shared = Shared {
            hello,
            engine: Mutex::default(),
            at_work: Mutex::default(),
            reports: Mutex::default(),
            reported: AtomicU64::new(0),
            outbox: watch::Sender::new(None),
            cancelled: Mutex::default(),
            cancels: Bell::default(),
            drain,
            seams: Seams::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Passes every report and its verdict through `seams`. To be said before anybody shares it.
    #[must_use]
    pub fn through(mut self, seams: Seams) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.seams = seams;
        }
        self
    }

    /// Keeps the session open for as long as it is polled.
    pub async fn run(&self, channel: Outgoing, clock: Arc<dyn Clock>, metrics: Metrics) {
        let mut client = WorkersClient::new(channel);
        let mut backoff = Backoff::default();
        // Whether this outage was told of.
        let mut told = false;
        loop {
            match self.open(&mut client).await {
                Ok(stream) => {
                    info!(
                        worker = self.shared.hello.worker,
                        "connected to the orchestrator"
                    );
                    metrics.connected.set(1);
                    let opened_at = clock.elapsed();
                    let ended = self.talk(stream, clock.as_ref()).await;
                    metrics.connected.set(0);
                    self.shared.outbox.send_replace(None);
                    if clock.elapsed().saturating_sub(opened_at) > LASTED {
                        backoff = Backoff::default();
                        told = false;
                    }
                    if told {
                        debug!(
                            error = ended.message(),
                            "the orchestrator's session ended again"
                        );
                    } else {
                        warn!(error = ended.message(), "the orchestrator's session ended");
                        told = true;
                    }
                }
                Err(status) if told => {
                    debug!(
                        error = status.message(),
                        "the orchestrator still does not answer"
                    );
                }
                Err(status) => {
                    warn!(error = status.message(), "the orchestrator does not answer");
                    told = true;
                }
            }
            metrics.retries.of("session").inc();
            backoff.wait(clock.as_ref()).await;
        }
    }

    async fn open(
        &self,
        client: &mut WorkersClient<Outgoing>,
    ) -> Result<Streaming<OrchestratorMessage>, Status> {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let engine = self.engine().clone();
        let hello = message(Said::Hello(Hello {
            engine: Some(engine.clone()),
            ..self.shared.hello.clone()
        }));
        // The channel is new and has room.
        drop(outbox.try_send(hello));
        let stream = client
            .session(ReceiverStream::new(messages))
            .await?
            .into_inner();
        self.shared.outbox.send_replace(Some(outbox.clone()));
        let latest = self.engine().clone();
        if latest != engine {
            self.say(Said::Engine(latest));
        }
        let unanswered: Vec<_> = self
            .reports()
            .values()
            .map(|report| report.message.clone())
            .collect();
        for report in unanswered {
            if outbox.send(message(report)).await.is_err() {
                break;
            }
        }
        Ok(stream)
    }

    async fn talk(&self, mut stream: Streaming<OrchestratorMessage>, clock: &dyn Clock) -> Status {
        let mut interval = HEARTBEAT;
        let mut beat_at = clock.elapsed();
        loop {
            let rest = (beat_at + interval).saturating_sub(clock.elapsed());
            let told = tokio::select! {
                biased;
                () = clock.sleep(rest) => {
                    let tasks = self.at_work().iter().cloned().collect();
                    self.say(Said::Heartbeat(Heartbeat { tasks }));
                    beat_at = clock.elapsed();
                    continue;
                }
                told = stream.message() => told,
            };
            match told {
                Ok(Some(OrchestratorMessage {
                    kind: Some(Told::Welcome(welcome)),
                })) => {
                    interval = Duration::from_millis(welcome.heartbeat_interval_ms.max(1));
                }
                Ok(Some(told)) => self.hear(told),
                Ok(None) => return Status::unavailable("the orchestrator closed it"),
                Err(status) => return status,
            }
        }
    }

    fn hear(&self, told: OrchestratorMessage) {
        match told.kind {
            Some(Told::Verdict(verdict)) => {
                let mut reports = self.reports();
                let first = reports
                    .iter()
                    .find(|(_, report)| report.task == verdict.task);
                let first = first.map(|(&number, _)| number);
                if let Some(report) = first.and_then(|number| reports.remove(&number)) {
                    // Whoever reported may have given up.
                    drop(report.verdict.send(verdict));
                }
            }
            Some(Told::Cancel(cancel)) => {
                let mut runs = self.cancelled_runs();
                if runs.len() >= CANCELLED_MAX {
                    runs.clear();
                }
                runs.insert(cancel.run);
                drop(runs);
                self.shared.cancels.ring();
            }
            Some(Told::Drain(_)) => self.shared.drain.cancel(),
            Some(Told::Ping(ping)) => self.say(Said::Pong(Pong {
                number: ping.number,
            })),
            Some(Told::Welcome(_)) | None => {}
        }
    }

    /// Tells something that may get lost: a heartbeat, progress.
    pub fn say(&self, said: Said) {
        if let Some(outbox) = self.shared.outbox.borrow().as_ref() {
            // A full outbox means a stream that stands still; the next message says the same.
            drop(outbox.try_send(message(said)));
        }
    }

    /// Tells what compute-core has, if that is not known.
    pub fn tell_engine(&self, engine: Capabilities) {
        let mut known = self.engine();
        if *known == engine {
            return;
        }
        known.clone_from(&engine);
        // Under the lock, so that a stream that is opened now begins with this.
        self.say(Said::Engine(engine));
    }

    /// The classes of kernels that compute-core has, as far as it has said.
    #[must_use]
    pub fn kernel_classes(&self) -> Vec<String> {
        self.engine().kernel_classes.clone()
    }

    fn engine(&self) -> MutexGuard<'_, Capabilities> {
        self.shared
            .engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `task` among those in work, for as long as what it returns lives.
    #[must_use]
    pub fn working_on(&self, task: String) -> impl Drop {
        self.at_work().insert(task.clone());
        AtWork {
            session: self.clone(),
            task,
        }
    }

    fn at_work(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.shared
            .at_work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports how `task` ended, as often as it takes, and waits for the verdict.
    ///
    /// Dropping the future withdraws the report.
    pub async fn report(&self, task: &str, said: Said) -> Verdict {
        let number = self.shared.reported.fetch_add(1, Ordering::Relaxed);
        let _withdrawn_on_drop = Withdraw {
            session: self,
            number,
        };
        loop {
            let (verdict, answer) = oneshot::channel();
            let report = Report {
                task: task.to_owned(),
                message: said.clone(),
                verdict,
            };
            self.reports().insert(number, report);
            // What becomes of a message in a stream is what becomes of the stream.
            let _passage = self.shared.seams.pass(Seam::Service, "report", &said).await;
            let outbox = self.shared.outbox.borrow().clone();
            if let Some(outbox) = outbox {
                // If the stream broke just now, the next one begins with this report.
                drop(outbox.send(message(said.clone())).await);
            }
            if let Ok(verdict) = answer.await {
                let heard = self.shared.seams.pass(Seam::Service, "verdict", &verdict);
                let _passage = heard.await;
                return verdict;
            }
        }
    }

    /// What this worker is called.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.shared.hello.worker
    }

    /// Returns when `run` is cancelled.
    pub async fn cancelled(&self, run: &str) {
        let mut cancels = self.shared.cancels.hearer();
        while !self.cancelled_runs().contains(run) {
            cancels.rung().await;
        }
    }

    fn cancelled_runs(&self) -> MutexGuard<'_, HashSet<String>> {
        let runs = self.shared.cancelled.lock();
        runs.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the stream stands, now and whenever that changes.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<Option<mpsc::Sender<WorkerMessage>>> {
        self.shared.outbox.subscribe()
    }

    fn reports(&self) -> MutexGuard<'_, BTreeMap<u64, Report>> {
        self.shared
            .reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

struct AtWork {
    session: Session,
    task: String,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.session.at_work().remove(&self.task);
    }
}

struct Withdraw<'a> {
    session: &'a Session,
    number: u64,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.session.reports().remove(&self.number);
    }
}

fn message(said: Said) -> WorkerMessage {
    WorkerMessage { kind: Some(said) }
}
