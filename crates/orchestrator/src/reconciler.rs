//! Closes the gap between what runs should be and what they are.
//!
//! Each run that has not ended has a driver: one task that owns the run's state in memory, takes
//! its signals one by one, and does the next step. A driver knows nothing that the run store and
//! the artifacts do not, so starting one is the same as going on after a restart.

mod driver;

use std::collections::HashMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use federation::acceptance::Refusal;
use federation::run::RunState;
use federation::{RunId, TaskId, Timestamp, WorkerId};
use futures::FutureExt;
use telemetry::trace::{Scope, current};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::collect::{self, Incoming, Judged};
use crate::metrics::fleet::FROM_WORKERS;
use crate::store::StoreError;
use crate::study::Study;
use driver::Driver;

/// Signals that wait for a driver which is aggregating.
const INBOX: usize = 256;

/// Something that a driver should know.
#[derive(Debug)]
pub enum Signal {
    /// A worker reports an update.
    Report(Reported),
    /// A worker could not do a task.
    Failed {
        /// What it says.
        failure: TaskFailure,
        /// Told when that is kept.
        kept: oneshot::Sender<Result<(), NotKept>>,
        /// Where in a trace it is heard.
        place: Option<Scope>,
    },
    /// The stored state changed.
    Wake,
}

impl Signal {
    /// Where in a trace it was sent.
    fn place(&self) -> Option<Scope> {
        match self {
            Self::Report(Reported { place, .. }) | Self::Failed { place, .. } => place.clone(),
            Self::Wake => None,
        }
    }
}

/// A report that waits for its verdict.
#[derive(Debug)]
pub struct Reported {
    /// What it says.
    pub incoming: Box<Incoming>,
    /// Where the verdict goes.
    pub verdict: oneshot::Sender<Result<Judged, NotKept>>,
    /// Where in a trace it is judged.
    pub place: Option<Scope>,
}

/// A task that came to nothing.
#[derive(Debug, Clone)]
pub struct TaskFailure {
    /// Which one.
    pub task: TaskId,
    /// Who tried.
    pub worker: WorkerId,
    /// What happened, for a person.
    pub message: String,
    /// Whether another attempt could succeed.
    pub retryable: bool,
}

/// A report that changed nothing, and should be made again.
#[derive(Debug, Error)]
#[error("the report was not kept: {message}")]
pub struct NotKept {
    /// Why not.
    pub message: String,
}

impl NotKept {
    fn because(reason: impl Display) -> Self {
        Self {
            message: reason.to_string(),
        }
    }
}

/// The drivers of all runs that have not ended.
#[derive(Debug, Clone)]
pub struct Reconciler {
    study: Arc<Study>,
    turns: Arc<Semaphore>,
    drivers: Arc<Mutex<HashMap<RunId, mpsc::Sender<Signal>>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Reconciler {
    /// Works on up to `concurrent_runs` at once; the others wait as pending.
    #[must_use]
    pub fn new(study: Arc<Study>, concurrent_runs: usize) -> Self {
        Self {
            study,
            turns: Arc::new(Semaphore::new(concurrent_runs)),
            drivers: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Takes up every run that has not ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the runs cannot be read.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let runs = self.study.store.unfinished_runs().await?;
        for &run in &runs {
            self.start(run);
        }
        Ok(runs.len())
    }

    /// Whether the run has not ended, and so wants its tasks done.
    #[must_use]
    pub fn drives(&self, run: RunId) -> bool {
        self.drivers().contains_key(&run)
    }

    /// Drives `run` until it ends, if nobody does yet.
    pub fn start(&self, run: RunId) {
        let mut drivers = self.drivers();
        if drivers.contains_key(&run) {
            return;
        }
        let (signals, inbox) = mpsc::channel(INBOX);
        drivers.insert(run, signals);
        self.study
            .metrics
            .runs
            .active
            .set(i64::try_from(drivers.len()).unwrap_or(i64::MAX));
        drop(drivers);
        let driver = Driver::new(Arc::clone(&self.study), run, inbox, Arc::clone(&self.turns));
        let this = self.clone();
        self.tasks.spawn(async move {
            let driven = tokio::select! {
                biased;
                driven = AssertUnwindSafe(driver.drive()).catch_unwind() => driven,
                () = this.stop.cancelled() => Ok(()),
            };
            if driven.is_err() {
                this.fail_broken(run).await;
            }
            let mut drivers = this.drivers();
            drivers.remove(&run);
            this.study
                .metrics
                .runs
                .active
                .set(i64::try_from(drivers.len()).unwrap_or(i64::MAX));
        });
    }

    // A defect of ours must not leave a run that nobody drives.
    async fn fail_broken(&self, run: RunId) {
        let reason = "the orchestrator broke while it drove this run; its log says where";
        error!(%run, reason, "run failed, because its driver broke");
        let now = self.study.now();
        match failed(&self.study, run, reason, now).await {
            Ok((state, submitted_at)) => {
                self.study.fleet.cancel(run);
                count_end(&self.study, state, submitted_at, Some(now));
            }
            Err(error) => error!(%run, error = %error, "the failure could not be stored"),
        }
    }

    /// Has a run look at its stored state again.
    pub async fn wake(&self, run: RunId) {
        let driver = self.drivers().get(&run).cloned();
        if let Some(driver) = driver {
            // A driver that has just ended has nothing left to look at.
            drop(driver.send(Signal::Wake).await);
        }
    }

    /// The verdict on a worker's report.
    ///
    /// # Errors
    ///
    /// [`NotKept`]; the worker should report again.
    pub async fn report(&self, mut incoming: Incoming) -> Result<Judged, NotKept> {
        let driver = self.drivers().get(&incoming.report.task.run).cloned();
        if let Some(driver) = driver {
            let received = self.study.metrics.fleet.bytes.of(FROM_WORKERS);
            received.inc_by(incoming.data.len() as u64);
            incoming.look();
            let (verdict, answer) = oneshot::channel();
            let signal = Signal::Report(Reported {
                incoming: Box::new(incoming.clone()),
                verdict,
                place: current(),
            });
            if driver.send(signal).await.is_ok()
                && let Ok(judged) = answer.await
            {
                return judged;
            }
        }
        self.check_open()?;
        collect::refuse(&self.study, &incoming, Refusal::RunNotRunning)
            .await
            .map_err(NotKept::because)
    }

    /// A worker could not do a task.
    ///
    /// # Errors
    ///
    /// [`NotKept`]; the worker should report again.
    pub async fn failed(&self, failure: TaskFailure) -> Result<(), NotKept> {
        let driver = self.drivers().get(&failure.task.run).cloned();
        if let Some(driver) = driver {
            let (kept, answer) = oneshot::channel();
            let signal = Signal::Failed {
                failure,
                kept,
                place: current(),
            };
            if driver.send(signal).await.is_ok()
                && let Ok(kept) = answer.await
            {
                return kept;
            }
        }
        // A run that has just ended needs the task no more.
        self.check_open()
    }

    // Without drivers it is not known whether a run is over.
    fn check_open(&self) -> Result<(), NotKept> {
        if self.stop.is_cancelled() {
            return Err(NotKept::because("the orchestrator is stopping"));
        }
        Ok(())
    }

    /// Stops all drivers where they stand; what they were doing is done again after a restart.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn drivers(&self) -> MutexGuard<'_, HashMap<RunId, mpsc::Sender<Signal>>> {
        self.drivers.lock().unwrap_or_else(|poisoned| {
            warn!("a driver panicked while the table of drivers was held");
            PoisonError::into_inner(poisoned)
        })
    }
}

/// Ends a run as failed. Says how it ended, since a person may have ended it first, and when it was
/// submitted, if its row reads.
async fn failed(
    study: &Study,
    run: RunId,
    reason: &str,
    now: Timestamp,
) -> Result<(RunState, Option<Timestamp>), StoreError> {
    study.store.fail_run(run, reason, now).await?;
    Ok(match study.store.run(run).await {
        Ok(Some(row)) if row.state.is_final() => (row.state, Some(row.created_at)),
        _ => (RunState::Failed, None),
    })
}

/// Counts a run that ended.
fn count_end(study: &Study, state: RunState, from: Option<Timestamp>, to: Option<Timestamp>) {
    let metrics = &study.metrics.runs;
    metrics.ended.of(state.as_str()).inc();
    if let (Some(from), Some(to)) = (from, to) {
        metrics.seconds.observe_duration(to.since(from));
    }
}
