//! What is done for one delivery of a task: fetch, train, store, report.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::Duration;

use artifacts::{BlobError, Key};
use bytes::Bytes;
use federation::TaskId;
use proto::body::{Passing, UPDATE_WITH_REPORT_MAX};
use proto::v1::orchestrator_message::Verdict;
use proto::v1::worker_message::{Done, Failed, Kind as Said, Progress};
use proto::v1::{BlobRef, TrainProgress, TrainResult, TrainTask};
use task_queue::Delivery;
use telemetry::span;
use telemetry::trace::{Span, Traced};
use tracing::{info, warn};

use crate::lease::{Outcome, Workshop};
use crate::report;
use crate::trace::{describe, said};
use crate::train::{Means, Task, TrainError, hold, train};

impl Workshop {
    /// Does what a delivery asks for, in `span`.
    pub(crate) async fn execute(&self, delivery: &Delivery, span: &Span) -> Outcome {
        let task = match TrainTask::from_bytes(delivery.body.clone()).and_then(Task::try_from) {
            Ok(task) => task,
            Err(problem) => {
                span.fail(&problem);
                warn!(%problem, "a task means nothing and is dropped");
                return Outcome::Dropped;
            }
        };
        describe(span, &task, self.session.worker());
        let _at_work = self.session.working_on(task.id.to_string());
        let run = task.id.run.to_string();
        tokio::select! {
            biased;
            outcome = self.contribute(&task, &run, delivery) => outcome,
            () = self.session.cancelled(&run) => Outcome::Dropped,
        }
    }

    async fn contribute(&self, task: &Task, run: &str, delivery: &Delivery) -> Outcome {
        let started = self.clock.elapsed();
        let trained = match self.fetch(task).await {
            Ok(()) => self.train(task, run).await,
            Err(error) => Err(error),
        };
        let (result, delta) = match trained {
            Ok(trained) => trained,
            Err(error) if error.is_transient() => {
                info!(run, round = task.id.round, task = %task.id, error = %error, "task given back");
                return Outcome::GivenBack;
            }
            Err(error) => {
                return self
                    .fail(task, delivery, error.to_string(), error.is_retryable())
                    .await;
            }
        };
        let Some(body) = result.delta.clone() else {
            return self
                .fail(
                    task,
                    delivery,
                    "compute-core sent no delta".to_owned(),
                    true,
                )
                .await;
        };
        let place = place(task, delivery);
        let data = match self.send(&place, delta).await {
            Ok(data) => data,
            Err(error) => {
                info!(run, round = task.id.round, task = %task.id, error = %error,
                    "update not stored, task given back");
                return Outcome::GivenBack;
            }
        };
        let update = BlobRef {
            key: place.to_string(),
            offset_bytes: 0,
            body: Some(body),
        };
        let verdict = self.report(task, delivery, (update, data), &result).await;
        self.log(
            task,
            &result,
            self.clock.elapsed().saturating_sub(started),
            &verdict,
        );
        Outcome::Judged
    }

    /// Has compute-core hold what the task needs, unless it held all that the last one needed; then it
    /// is likely to hold this as well, and says if it does not.
    async fn fetch(&self, task: &Task) -> Result<(), TrainError> {
        if !self.lacked.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let span = span!("fetch");
        self.part("fetch", &span, hold(task, self.means())).await
    }

    async fn train(&self, task: &Task, run: &str) -> Result<(TrainResult, Passing), TrainError> {
        let span = span!("train", "batch_size" = task.local.batch_size);
        let num_parameters = task.model.num_parameters();
        self.metrics
            .model_parameters
            .set(i64::try_from(num_parameters).unwrap_or(i64::MAX));
        let mut course = Course::new(self, task, run);
        let mut on_progress = |progress| course.hear(&progress);
        let training = train(task, self.means(), &mut on_progress);
        let (result, delta) = self.part("train", &span, training).await?;
        course.end(&result);
        span.set("loss", result.mean_loss);
        if let Some(accuracy) = result.accuracy {
            span.set("accuracy", accuracy);
        }
        span.set("num_examples", result.num_examples);
        span.set("num_steps", result.num_steps);
        Ok((result, delta))
    }

    /// Stores an update, unless it is so small that it goes with the report; then it is given back.
    async fn send(&self, place: &Key, delta: Passing) -> Result<Bytes, BlobError> {
        let len = delta.len();
        let data = match len <= UPDATE_WITH_REPORT_MAX {
            true => delta.into_bytes(),
            false => {
                let span = span!("store update", "bytes" = len);
                let stored = report::store(
                    self.store.as_ref(),
                    place,
                    &delta,
                    self.clock.as_ref(),
                    self.metrics.retries.of("upload"),
                );
                self.part("store", &span, stored).await?;
                Bytes::new()
            }
        };
        self.metrics.bytes.of("from_workers").inc_by(len as u64);
        Ok(data)
    }

    async fn report(
        &self,
        task: &Task,
        delivery: &Delivery,
        (update, data): (BlobRef, Bytes),
        result: &TrainResult,
    ) -> Verdict {
        let span = span!("report");
        let done = Done {
            task: task.id.to_string(),
            lease_epoch: delivery.epoch,
            update: Some(update),
            num_examples: result.num_examples,
            num_steps: result.num_steps,
            mean_loss: result.mean_loss,
            base_digest: task.parameters.body.digest.clone(),
            trace: said(span.context()),
            kernel_class: result.kernel_class.clone(),
            data,
            lease: delivery.handle.to_string(),
        };
        let verdict = self.tell(task, Said::Done(done), &span).await;
        let outcome = if verdict.accepted {
            "accepted"
        } else {
            "refused"
        };
        self.metrics.updates.of(outcome).inc();
        verdict
    }

    async fn fail(
        &self,
        task: &Task,
        delivery: &Delivery,
        message: String,
        retryable: bool,
    ) -> Outcome {
        let TaskId {
            run, round, client, ..
        } = task.id;
        warn!(%run, round, task = %task.id, participant_id = %client, message, "task failed");
        self.metrics.updates.of("failed").inc();
        let span = span!("report");
        span.fail(&message);
        let failed = Failed {
            task: task.id.to_string(),
            message,
            retryable,
            trace: said(span.context()),
            lease: delivery.handle.to_string(),
        };
        self.tell(task, Said::Failed(failed), &span).await;
        Outcome::Judged
    }

    async fn tell(&self, task: &Task, said: Said, span: &Span) -> Verdict {
        let timer = self.metrics.phase_seconds.of("report").start();
        let verdict = self
            .session
            .report(&task.id.to_string(), said)
            .in_scope(span.scope())
            .await;
        timer.stop();
        span.set("accepted", verdict.accepted);
        if span.is_kept() && !verdict.accepted {
            span.set("reason", verdict.reason.clone());
        }
        verdict
    }

    fn log(&self, task: &Task, result: &TrainResult, duration: Duration, verdict: &Verdict) {
        let TaskId {
            run, round, client, ..
        } = task.id;
        info!(
            %run,
            round,
            worker = self.session.worker(),
            task = %task.id,
            participant_id = %client,
            agent_id = %client,
            duration = duration.as_secs_f64(),
            loss = result.mean_loss,
            accuracy = result.accuracy,
            accepted = verdict.accepted,
            reason = verdict.reason,
            "update judged"
        );
    }

    /// A part of a task, in its span: measured if it succeeds, and if not, the span says why.
    async fn part<T, E: Display>(
        &self,
        phase: &'static str,
        span: &Span,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let timer = self.metrics.phase_seconds.of(phase).start();
        let done = work.in_scope(span.scope()).await;
        match &done {
            Ok(_) => drop(timer.stop()),
            Err(error) => span.fail(error),
        }
        done
    }

    fn means(&self) -> Means<'_> {
        Means {
            store: &self.store,
            engine: &self.engine,
            fetched_bytes: self.metrics.bytes.of("to_workers"),
            lacked: &self.lacked,
            clock: self.clock.as_ref(),
            idle_timeout: self.idle_timeout,
        }
    }
}

/// Where the update of a delivery stands.
fn place(task: &Task, delivery: &Delivery) -> Key {
    Key::update(&task.id, delivery.epoch)
}

/// A training as compute-core tells of it: counted, shown, and passed on.
struct Course<'a> {
    workshop: &'a Workshop,
    task: String,
    run: &'a str,
    /// Steps told of so far, and the seconds they took.
    steps: u32,
    seconds: f64,
}

impl<'a> Course<'a> {
    fn new(workshop: &'a Workshop, task: &Task, run: &'a str) -> Self {
        Self {
            workshop,
            task: task.id.to_string(),
            run,
            steps: 0,
            seconds: 0.0,
        }
    }

    fn hear(&mut self, progress: &TrainProgress) {
        self.advance(progress.step, progress.seconds);
        let (loss, accuracy) = (progress.loss.into(), progress.accuracy.map(f64::from));
        self.workshop.curves.show(self.run, loss, accuracy);
        self.workshop.session.say(Said::Progress(Progress {
            task: self.task.clone(),
            step: progress.step,
            steps_total: progress.steps_total,
            loss: progress.loss,
        }));
    }

    fn end(&mut self, result: &TrainResult) {
        self.advance(result.num_steps, result.seconds);
        let curves = &self.workshop.curves;
        curves.show(self.run, result.mean_loss, result.accuracy);
        self.workshop
            .metrics
            .epochs
            .inc_by(result.num_epochs.into());
    }

    fn advance(&mut self, steps: u32, seconds: f64) {
        let batches = steps.saturating_sub(self.steps);
        if batches > 0 {
            let metrics = &self.workshop.metrics;
            metrics.batches.inc_by(batches.into());
            let mean = (seconds - self.seconds) / f64::from(batches);
            metrics.step_seconds.observe(mean);
            (self.steps, self.seconds) = (steps, seconds);
        }
    }
}
