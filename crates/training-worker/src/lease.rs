//! The work of one slot: lease a task, do it, report it, acknowledge it; then the next.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use artifacts::{BlobStore, Key};
use clock::Clock;
use federation::TaskId;
use proto::engine::Engine;
use proto::v1::worker_message::{Done, Failed, Kind as Said, Progress};
use proto::v1::{BlobRef, TrainTask};
use task_queue::{Delivery, LeaseHandle, QueueError, TaskQueue};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::config::LeaseConfig;
use crate::metrics::Metrics;
use crate::report;
use crate::session::Session;
use crate::train::{Task, train};

/// Deliveries of one task before it is reported as failed: workers that take it keep dying.
const DELIVERIES_MAX: u32 = 10;

/// A task that could not be done is offered to others after this long.
const GIVE_BACK_DELAY: Duration = Duration::from_millis(250);

/// All that a slot works with.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// Where tasks come from.
    pub queue: Arc<dyn TaskQueue>,
    /// Where bytes come from and go to.
    pub store: Arc<dyn BlobStore>,
    /// Where training happens.
    pub engine: Engine,
    /// Where reports go.
    pub session: Session,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How long tasks stay here.
    pub lease: LeaseConfig,
    /// What is counted.
    pub metrics: Metrics,
}

/// How a task ended here.
enum Outcome {
    /// The orchestrator has judged it.
    Judged,
    /// Its message means nothing, or its run is over.
    Dropped,
    /// Somebody who is needed was not there.
    GivenBack,
    /// Another worker has it.
    Lost,
}

impl Outcome {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Dropped => "dropped",
            Self::GivenBack => "given_back",
            Self::Lost => "lost",
        }
    }
}

impl Workshop {
    /// Works until `drain` is asked for and the task in hand is done, or `stop` ends the patience.
    pub async fn work(&self, drain: &CancellationToken, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        while !drain.is_cancelled() {
            let ready = tokio::select! {
                ready = self.lease_one() => ready,
                () = drain.cancelled() => return,
            };
            match ready {
                Ok(deliveries) => {
                    backoff = Backoff::default();
                    for delivery in deliveries {
                        self.take(delivery, stop).await;
                    }
                }
                Err(problem) => {
                    debug!(problem, "cannot lease");
                    tokio::select! {
                        () = backoff.wait(self.clock.as_ref()) => {}
                        () = drain.cancelled() => return,
                    }
                }
            }
        }
    }

    // A worker whose compute-core is away would only keep tasks from those who can do them.
    async fn lease_one(&self) -> Result<Vec<Delivery>, String> {
        self.engine
            .describe()
            .await
            .map_err(|error| error.to_string())?;
        let leased = self
            .queue
            .receive(NonZeroUsize::MIN, self.lease.ttl, self.lease.wait)
            .await;
        leased.map_err(|error| error.to_string())
    }

    async fn take(&self, delivery: Delivery, stop: &CancellationToken) {
        let started = self.clock.elapsed();
        self.metrics.tasks_running.inc();
        let handle = delivery.handle.clone();
        let outcome = tokio::select! {
            outcome = self.execute(&delivery) => outcome,
            () = self.keep(&handle) => Outcome::Lost,
            () = stop.cancelled() => Outcome::GivenBack,
        };
        let settled = match outcome {
            Outcome::Judged | Outcome::Dropped => self.queue.acknowledge(&handle).await,
            Outcome::GivenBack => self.queue.give_back(&handle, GIVE_BACK_DELAY).await,
            Outcome::Lost => Ok(()),
        };
        if let Err(error) = settled {
            // The task comes again when its lease runs out, and its report is refused as a repeat.
            debug!(error = %error, "the end of a lease was not heard");
        }
        self.metrics.tasks_running.dec();
        self.metrics
            .tasks
            .with_label_values(&[outcome.as_str()])
            .inc();
        if matches!(outcome, Outcome::Judged) {
            let seconds = self.clock.elapsed().saturating_sub(started).as_secs_f64();
            self.metrics.task_seconds.observe(seconds);
        }
    }

    /// Extends the lease at half time, for as long as it is polled; returns when it is lost.
    async fn keep(&self, handle: &LeaseHandle) {
        let mut confirmed_at = self.clock.elapsed();
        let mut pause = self.lease.ttl / 2;
        loop {
            self.clock.sleep(pause).await;
            match self.queue.extend(handle, self.lease.ttl).await {
                Ok(()) => {
                    self.metrics.lease_extensions.inc();
                    confirmed_at = self.clock.elapsed();
                    pause = self.lease.ttl / 2;
                }
                Err(QueueError::LeaseLost { .. }) => return,
                Err(error) => {
                    if self.clock.elapsed().saturating_sub(confirmed_at) > self.lease.ttl {
                        return;
                    }
                    debug!(error = %error, "lease not extended, trying again");
                    pause = self.lease.ttl / 10;
                }
            }
        }
    }

    async fn execute(&self, delivery: &Delivery) -> Outcome {
        let task = match TrainTask::from_bytes(delivery.body.clone()).and_then(Task::try_from) {
            Ok(task) => task,
            Err(problem) => {
                warn!(%problem, "a task means nothing and is dropped");
                return Outcome::Dropped;
            }
        };
        if delivery.epoch > DELIVERIES_MAX {
            let message = format!(
                "delivered {DELIVERIES_MAX} times without an answer; workers that took it died or \
                 gave it back"
            );
            return self.fail(&task, message, true).await;
        }
        let _at_work = self.session.working_on(task.id.to_string());
        let run = task.id.run.to_string();
        tokio::select! {
            outcome = self.contribute(&task, delivery.epoch) => outcome,
            () = self.session.cancelled(&run) => Outcome::Dropped,
        }
    }

    async fn contribute(&self, task: &Task, epoch: u32) -> Outcome {
        let id = task.id.to_string();
        let mut on_progress = |progress: proto::v1::TrainProgress| {
            self.session.say(Said::Progress(Progress {
                task: id.clone(),
                step: progress.step,
                steps_total: progress.steps_total,
                loss: progress.loss,
            }));
        };
        let trained = train(task, &self.store, &self.engine, &mut on_progress).await;
        let (result, delta) = match trained {
            Ok(trained) => trained,
            Err(error) if error.is_transient() => {
                info!(task = %task.id, error = %error, "task given back");
                return Outcome::GivenBack;
            }
            Err(error) => {
                return self
                    .fail(task, error.to_string(), error.is_retryable())
                    .await;
            }
        };
        let Some(body) = result.delta else {
            return self
                .fail(task, "compute-core sent no delta".to_owned(), true)
                .await;
        };
        let TaskId {
            run,
            round,
            client,
            attempt,
        } = task.id;
        let place = Key::update(run, round, client, attempt, epoch);
        let digest = federation::Digest::of(&delta);
        let stored = report::store(
            self.store.as_ref(),
            &place,
            &delta,
            &digest,
            self.clock.as_ref(),
        );
        if let Err(error) = stored.await {
            info!(task = %task.id, error = %error, "update not stored, task given back");
            return Outcome::GivenBack;
        }
        let done = Done {
            task: task.id.to_string(),
            lease_epoch: epoch,
            update: Some(BlobRef {
                key: place.to_string(),
                offset_bytes: 0,
                body: Some(body),
            }),
            num_examples: result.num_examples,
            num_steps: result.num_steps,
            mean_loss: result.mean_loss,
            base_digest: task.parameters.body.digest.clone(),
            trace: None,
        };
        let verdict = self
            .session
            .report(&done.task.clone(), Said::Done(done))
            .await;
        if !verdict.accepted {
            info!(task = %task.id, reason = verdict.reason, "update refused");
        }
        Outcome::Judged
    }

    async fn fail(&self, task: &Task, message: String, retryable: bool) -> Outcome {
        warn!(task = %task.id, message, "task failed");
        let failed = Failed {
            task: task.id.to_string(),
            message,
            retryable,
            trace: None,
        };
        self.session
            .report(&failed.task.clone(), Said::Failed(failed))
            .await;
        Outcome::Judged
    }
}
