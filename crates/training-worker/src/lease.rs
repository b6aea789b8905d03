//! The work of one slot: lease a task, have it done, keep it meanwhile; then the next.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use artifacts::BlobStore;
use clock::Clock;
use proto::engine::Engine;
use proto::v1::worker_message::Capabilities;
use task_queue::{Delivery, LeaseHandle, QueueError, TaskQueue};
use telemetry::Telemetry;
use telemetry::trace::Traced;
use tokio_util::sync::CancellationToken;
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
    /// How long a training may say nothing before it is given up.
    pub idle_timeout: Duration,
    /// Whether compute-core lacked something that the last task needed, as far as is known.
    pub lacked: Arc<AtomicBool>,
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
    /// Works until `drain` is asked for and the task in hand is done, or `stop` ends the patience.
    pub async fn work(&self, drain: &CancellationToken, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        // Whether compute-core did the last task, so that it need not be asked whether it is there.
        let mut is_served = false;
        while !drain.is_cancelled() {
            let ready = tokio::select! {
                biased;
                ready = self.lease_one(is_served).in_scope(Some(self.telemetry.tracer.aside("lease", None))) => ready,
                () = drain.cancelled() => return,
            };
            match ready {
                Ok(deliveries) => {
                    backoff = Backoff::default();
                    is_served = false;
                    for delivery in deliveries {
                        is_served = self.take(delivery, stop).await == Outcome::Judged;
                    }
                }
                Err(problem) => {
                    debug!(problem, "cannot lease");
                    self.metrics.retries.of("lease").inc();
                    tokio::select! {
                        biased;
                        () = backoff.wait(self.clock.as_ref()) => {}
                        () = drain.cancelled() => return,
                    }
                }
            }
        }
    }

    // A worker whose compute-core is away would only keep tasks from those who can do them.
    async fn lease_one(&self, is_served: bool) -> Result<Vec<Delivery>, String> {
        if !is_served {
            let described = self.engine.describe().await;
            let described = described.map_err(|error| error.to_string())?;
            self.session.tell_engine(Capabilities {
                kernel_classes: described.kernel_classes,
                memory_bytes: described.memory_bytes,
            });
        }
        let classes = self.session.kernel_classes();
        let leased = self
            .queue
            .receive(&classes, NonZeroUsize::MIN, self.lease.ttl, self.lease.wait)
            .await;
        leased.map_err(|error| error.to_string())
    }

    async fn take(&self, delivery: Delivery, stop: &CancellationToken) -> Outcome {
        let started = self.clock.elapsed();
        self.metrics.tasks_running.inc();
        let span = span_of(&delivery, &self.telemetry);
        let handle = &delivery.handle;
        let aside = self.telemetry.tracer.aside("keep", span.context().as_ref());
        // On the heap, so that a slot that waits is not as large as all that a task may be doing.
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
        outcome
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
