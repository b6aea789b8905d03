//! What a worker reports of its tasks, each answered with a verdict.

use std::sync::Arc;

use federation::TaskId;
use proto::convert::InvalidMessage;
use proto::v1::orchestrator_message::{Kind as Told, Verdict};
use proto::v1::worker_message::{Done, Failed};
use task_queue::{LeaseHandle, TaskQueue};
use telemetry::trace::{Span, Traced};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, warn};

use super::{Talk, message};
use crate::api::Api;
use crate::collect::Incoming;
use crate::fleet::Ended;
use crate::metrics::rounds::INVALID_MESSAGE;
use crate::reconciler::{NotKept, TaskFailure};
use crate::trace::told;

/// Most characters of what a worker says about a failure.
const MESSAGE_MAX: usize = 2000;

pub(super) enum Answerable {
    Done(Done),
    Failed(Failed),
}

impl Answerable {
    /// The lease that ends with the report, if any.
    fn take_lease(&mut self) -> String {
        let (Self::Done(Done { lease, .. }) | Self::Failed(Failed { lease, .. })) = self;
        std::mem::take(lease)
    }
}

impl Api {
    /// Answers in a task of its own: judging reads the whole update, and heartbeats must not wait
    /// for it.
    pub(super) async fn answer(&self, talk: &Talk, what: Answerable) {
        let Ok(turn) = Arc::clone(&talk.judging).acquire_owned().await else {
            return;
        };
        let span = self.begin(talk, &what);
        let (api, talk) = (self.clone(), talk.clone());
        tokio::spawn(async move {
            let answering = api.give_verdict(&talk, what, turn, &span);
            answering.in_scope(span.scope()).await;
        });
    }

    /// The stream has its metadata once, so each report says itself where it comes from.
    fn begin(&self, talk: &Talk, what: &Answerable) -> Span {
        let telemetry = &self.study.telemetry;
        let (name, trace) = match what {
            Answerable::Done(done) => ("accept update", done.trace.as_ref()),
            Answerable::Failed(failed) => ("note failure", failed.trace.as_ref()),
        };
        let sender = told(telemetry, trace);
        let span = telemetry.tracer.consume(name, sender.as_ref());
        if span.is_kept() {
            span.set("worker", talk.id.worker().to_string());
        }
        span
    }

    async fn give_verdict(
        &self,
        talk: &Talk,
        mut what: Answerable,
        turn: OwnedSemaphorePermit,
        span: &Span,
    ) {
        let lease = what.take_lease();
        let judged = match what {
            Answerable::Done(done) => self.judge(talk, done, span).await,
            Answerable::Failed(failed) => self.note_failure(talk, failed, span).await,
        };
        match judged {
            Ok(verdict) => {
                // A worker whose session ended reports again.
                drop(talk.outbox.send(message(Told::Verdict(verdict))).await);
                // Others are judged, however long the queue takes.
                drop(turn);
                self.end_lease(lease).await;
            }
            Err(error) => {
                span.fail(&error);
                warn!(
                    worker = %talk.id.worker(),
                    error = %error,
                    "session ended, so that the worker reports again"
                );
                talk.ending.cancel();
            }
        }
    }

    /// Takes the task of a judged report out of the queue, where the report has said under which lease
    /// it is.
    async fn end_lease(&self, lease: String) {
        if lease.is_empty() {
            return;
        }
        let ended = self.study.queue.acknowledge(&LeaseHandle(lease)).await;
        if let Err(error) = ended {
            // The task comes again when its lease runs out, and its report is refused as a repeat.
            debug!(error = %error, "the task of a judged report was not acknowledged");
        }
    }

    async fn judge(&self, talk: &Talk, done: Done, span: &Span) -> Result<Verdict, NotKept> {
        let id = &talk.id;
        let task = done.task.clone();
        let incoming = match Incoming::new(id.worker().clone(), done) {
            Ok(incoming) => incoming,
            Err(error) => {
                talk.agent.judged(false);
                let refused = &self.study.metrics.rounds.refused;
                refused.of(INVALID_MESSAGE).inc();
                span.set("verdict", "rejected");
                span.set("reason", INVALID_MESSAGE);
                return Ok(not_understood(task, &error));
            }
        };
        describe(span, &incoming.report.task);
        span.set("lease_epoch", incoming.lease_epoch);
        let judged = self.reconciler.report(incoming).await?;
        let (ended, word) = match &judged.verdict {
            Ok(()) if judged.is_repeat => (Ended::Repeated, "approved"),
            Ok(()) => (Ended::Accepted, "approved"),
            Err(refusal) => {
                span.set("reason", refusal.reason());
                (Ended::Refused, "rejected")
            }
        };
        span.set("verdict", word);
        if judged.is_repeat {
            span.set("repeated", true);
        } else {
            talk.agent.judged(judged.verdict.is_ok());
        }
        self.study.fleet.ended(id, &task, ended, self.study.now());
        Ok(match judged.verdict {
            Ok(()) => Verdict {
                task,
                accepted: true,
                ..Verdict::default()
            },
            Err(refusal) => Verdict {
                task,
                accepted: false,
                reason: refusal.reason().to_owned(),
                message: refusal.to_string(),
            },
        })
    }

    async fn note_failure(
        &self,
        talk: &Talk,
        failed: Failed,
        span: &Span,
    ) -> Result<Verdict, NotKept> {
        let id = &talk.id;
        talk.agent.control.inc();
        let Failed {
            task: text,
            message,
            retryable,
            ..
        } = failed;
        self.study
            .fleet
            .ended(id, &text, Ended::Failed, self.study.now());
        match text.parse() {
            Ok(task) => {
                describe(span, &task);
                let failure = TaskFailure {
                    task,
                    worker: id.worker().clone(),
                    message: message.chars().take(MESSAGE_MAX).collect(),
                    retryable,
                };
                self.reconciler.failed(failure).await?;
                Ok(Verdict {
                    task: text,
                    accepted: true,
                    ..Verdict::default()
                })
            }
            Err(error) => Ok(not_understood(text, &InvalidMessage::new("task", error))),
        }
    }
}

/// Says which task a span is about.
fn describe(span: &Span, task: &TaskId) {
    if span.is_kept() {
        span.set("run", task.run.to_string());
        span.set("round", task.round);
        span.set("participant_id", task.client.to_string());
        span.set("agent_id", task.client.to_string());
        span.set("attempt", task.attempt);
    }
}

fn not_understood(task: String, error: &InvalidMessage) -> Verdict {
    warn!(task, error = %error, "a report was not understood");
    Verdict {
        task,
        accepted: false,
        reason: INVALID_MESSAGE.to_owned(),
        message: error.to_string(),
    }
}
