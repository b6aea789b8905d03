//! The work of the slots: lease tasks, have each done, keep it meanwhile.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use artifacts::BlobStore;
use clock::Clock;
use proto::engine::Engine;
use proto::v1::worker_message::Capabilities;
use task_queue::{Delivery, LeaseHandle, QueueError, TaskQueue};
use telemetry::Telemetry;
use telemetry::trace::Traced;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::backoff::Backoff;
use crate::config::LeaseConfig;
use crate::curves::Curves;
use crate::metrics::Metrics;
use crate::session::Session;
use crate::trace::span_of;

/// A task that could not be done is offered to others after this long.
const GIVE_BACK_DELAY: Duration = Duration::from_millis(250);

/// All that a slot works with.
#[derive(Debug)]
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
    /// How long a training may say nothing before it is given up.
    pub idle_timeout: Duration,
    /// Whether compute-core lacked something that the last task needed, as far as is known.
    pub lacked: AtomicBool,
    /// Whether compute-core did the last task, so that it need not be asked whether it is there.
    pub served: AtomicBool,
    /// What is counted.
    pub metrics: Metrics,
    /// How well runs do.
    pub curves: Curves,
    /// What it shows of itself.
    pub telemetry: Telemetry,
}

/// How a task ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
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
    /// Leases tasks for free slots and has each done in one, until `drain` is asked for and those in
    /// hand are done, or `stop` ends the patience.
    pub async fn work(
        self: Arc<Self>,
        slots: NonZeroU32,
        drain: &CancellationToken,
        stop: &CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        tokio::select! {
            biased;
            () = self.keep_busy(slots, &tasks, stop) => {}
            () = drain.cancelled() => {}
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Leases tasks for free slots, for as long as it is polled.
    async fn keep_busy(
        self: &Arc<Self>,
        slots: NonZeroU32,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let free = Arc::new(Semaphore::new(slots.get() as usize));
        let mut backoff = Backoff::default();
        loop {
            let mut slots = free_slots(&free).await;
            let aside = self.telemetry.tracer.aside("lease", None);
            let leased = self.lease(slots.num_permits()).in_scope(Some(aside));
            match leased.await {
                Ok(deliveries) => {
                    backoff = Backoff::default();
                    for delivery in deliveries {
                        let slot = slots.split(1);
                        let (this, stop) = (Arc::clone(self), stop.clone());
                        tasks.spawn(async move {
                            this.take(delivery, &stop).await;
                            drop(slot);
                        });
                    }
                }
                Err(problem) => {
                    debug!(problem, "cannot lease");
                    self.metrics.retries.of("lease").inc();
                    backoff.wait(self.clock.as_ref()).await;
                }
            }
        }
    }

    // A worker whose compute-core is away would only keep tasks from those who can do them.
    async fn lease(&self, max: usize) -> Result<Vec<Delivery>, String> {
        if !self.served.load(Ordering::Relaxed) {
            let described = self.engine.describe().await;
            let described = described.map_err(|error| error.to_string())?;
            self.session.tell_engine(Capabilities {
                kernel_classes: described.kernel_classes,
                memory_bytes: described.memory_bytes,
            });
        }
        let classes = self.session.kernel_classes();
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        let leased = self
            .queue
            .receive(&classes, max, self.lease.ttl, self.lease.wait)
            .await;
        let leased = leased.map_err(|error| error.to_string())?;
        if leased.is_empty() {
            self.served.store(false, Ordering::Relaxed);
        }
        Ok(leased)
    }

    async fn take(&self, delivery: Delivery, stop: &CancellationToken) {
        let started = self.clock.elapsed();
        self.metrics.tasks_running.inc();
        let span = span_of(&delivery, &self.telemetry);
        let handle = &delivery.handle;
        let aside = self.telemetry.tracer.aside("keep", span.context().as_ref());
        // Large, and moved several times before it begins.
        let work = Box::pin(self.execute(&delivery, &span));
        let outcome = tokio::select! {
            biased;
            outcome = work.in_scope(span.scope()) => outcome,
            // Aside: a long task is kept a thousand times.
            () = self.keep(handle).in_scope(Some(aside)) => Outcome::Lost,
            () = stop.cancelled() => Outcome::GivenBack,
        };
        let settled = self.settle(handle, outcome).in_scope(span.scope()).await;
        if let Err(error) = settled {
            // The task comes again when its lease runs out, and its report is refused as a repeat.
            debug!(error = %error, "the end of a lease was not heard");
        }
        span.set("outcome", outcome.as_str());
        if outcome == Outcome::Lost {
            info!(
                worker = self.session.worker(),
                "the lease of a task was lost; whoever has it now does it"
            );
        }
        self.metrics.tasks_running.dec();
        self.metrics.tasks.of(outcome.as_str()).inc();
        if outcome == Outcome::Judged {
            let duration = self.clock.elapsed().saturating_sub(started);
            self.metrics.task_seconds.observe_duration(duration);
        }
        let is_served = outcome == Outcome::Judged;
        self.served.store(is_served, Ordering::Relaxed);
    }

    async fn settle(&self, handle: &LeaseHandle, outcome: Outcome) -> Result<(), QueueError> {
        match outcome {
            Outcome::Dropped => self.queue.acknowledge(handle).await,
            Outcome::GivenBack => self.queue.give_back(handle, GIVE_BACK_DELAY).await,
            // The report has ended the lease of the one; that of the other has ended by itself.
            Outcome::Judged | Outcome::Lost => Ok(()),
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
                    self.metrics.lease_extensions.of("extended").inc();
                    confirmed_at = self.clock.elapsed();
                    pause = self.lease.ttl / 2;
                }
                Err(QueueError::LeaseLost { .. }) => {
                    self.metrics.lease_extensions.of("lost").inc();
                    return;
                }
                Err(error) => {
                    self.metrics.lease_extensions.of("failed").inc();
                    if self.clock.elapsed().saturating_sub(confirmed_at) > self.lease.ttl {
                        return;
                    }
                    debug!(error = %error, "lease not extended, trying again");
                    pause = self.lease.ttl / 10;
                }
            }
        }
    }
}

/// Half of the slots that are free, as soon as there is one: the other half of what waits to be done is
/// for other workers.
async fn free_slots(free: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let waiting = Arc::clone(free).acquire_owned();
    let mut slots = waiting.await.expect("nobody closes it");
    let others = free.available_permits() / 2;
    if let Ok(others) = Arc::clone(free).try_acquire_many_owned(u32::try_from(others).unwrap_or(0))
    {
        slots.merge(others);
    }
    slots
}
