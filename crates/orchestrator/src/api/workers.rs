//! Sessions of workers.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use proto::convert::InvalidMessage;
use proto::v1::orchestrator_message::{Drain, Kind as Told, Verdict, Welcome};
use proto::v1::worker_message::{Done, Failed, Hello, Kind as Said};
use proto::v1::workers_server::Workers;
use proto::v1::{ListWorkersRequest, ListWorkersResponse, OrchestratorMessage, WorkerMessage};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{Api, status};
use crate::collect::Incoming;
use crate::fleet::{Ended, SessionId};
use crate::reconciler::{ReportError, TaskFailure};

/// Messages that may wait for a worker.
const OUTBOX: usize = 64;

/// How long a report that could not be kept waits before it is tried again.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// Longest name of a worker.
const NAME_MAX: usize = 200;

#[tonic::async_trait]
impl Workers for Api {
    type SessionStream = BoxStream<'static, Result<OrchestratorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut said = request.into_inner();
        let hello = match said.message().await?.and_then(|message| message.kind) {
            Some(Said::Hello(hello)) => hello,
            _ => {
                return Err(status::invalid_field(
                    "kind",
                    "the first message must be hello",
                ));
            }
        };
        check(&hello)?;
        let (outbox, told) = mpsc::channel(OUTBOX);
        let id = self
            .study
            .fleet
            .join(hello, outbox.clone(), self.study.now());
        info!(worker = %id.worker(), "worker connected");
        let welcome = Welcome {
            heartbeat_interval_ms: millis(self.study.fleet.heartbeat()),
            lease_ttl_ms: 0,
        };
        // The outbox is new and has room.
        drop(outbox.try_send(message(Told::Welcome(welcome))));
        if self.reconciler.is_stopped() {
            drop(outbox.try_send(message(Told::Drain(Drain {}))));
        }
        self.count_workers();

        let api = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = api.listen(said, &id, &outbox) => {}
                () = api.closing.cancelled() => {}
            }
            api.study.fleet.leave(&id);
            api.count_workers();
            info!(worker = %id.worker(), "worker gone");
        });
        let closing = self.closing.clone().cancelled_owned().boxed();
        let stream = ReceiverStream::new(told).map(Ok).take_until(closing);
        Ok(Response::new(stream.boxed()))
    }

    async fn list(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let workers = self.study.fleet.list(self.study.now());
        Ok(Response::new(ListWorkersResponse { workers }))
    }
}

impl Api {
    fn count_workers(&self) {
        let connected = i64::try_from(self.study.fleet.connected()).unwrap_or(i64::MAX);
        self.study.metrics.active_workers.set(connected);
    }

    async fn listen(
        &self,
        mut said: Streaming<WorkerMessage>,
        id: &SessionId,
        outbox: &mpsc::Sender<OrchestratorMessage>,
    ) {
        while let Ok(Some(message)) = said.message().await {
            let now = self.study.now();
            match message.kind {
                Some(Said::Progress(progress)) => {
                    self.study.fleet.heard(id, Some(progress.task), now);
                }
                Some(Said::Done(done)) => self.answer(id, outbox, Answerable::Done(done)),
                Some(Said::Failed(failed)) => self.answer(id, outbox, Answerable::Failed(failed)),
                Some(Said::Heartbeat(_) | Said::Hello(_)) | None => {
                    self.study.fleet.heard(id, None, now);
                }
            }
        }
    }

    // Judging reads the whole update; heartbeats must not wait for it.
    fn answer(&self, id: &SessionId, outbox: &mpsc::Sender<OrchestratorMessage>, what: Answerable) {
        let (api, id, outbox) = (self.clone(), id.clone(), outbox.clone());
        tokio::spawn(async move {
            let judged = match what {
                Answerable::Done(done) => api.judge(&id, &done, &outbox).await,
                Answerable::Failed(failed) => Some(api.note_failure(&id, failed).await),
            };
            if let Some(verdict) = judged {
                // A worker whose session ended reports again.
                drop(outbox.send(message(Told::Verdict(verdict))).await);
            }
        });
    }

    /// The verdict on a report. There is none when the session ends first: then the worker reports
    /// again in its next one.
    async fn judge(
        &self,
        id: &SessionId,
        done: &Done,
        outbox: &mpsc::Sender<OrchestratorMessage>,
    ) -> Option<Verdict> {
        let task = done.task.clone();
        let incoming = match Incoming::new(id.worker().clone(), done) {
            Ok(incoming) => incoming,
            Err(error) => return Some(not_understood(task, &error)),
        };
        let judged = loop {
            match self.reconciler.report(incoming.clone()).await {
                Ok(judged) => break judged,
                Err(ReportError::Stopping) => return None,
                // The worker waits for as long as the session lasts, and keeps its lease.
                Err(error) => warn!(task, error = %error, "a report was not kept"),
            }
            self.study.clock.sleep(REPORT_AGAIN).await;
            if outbox.is_closed() {
                return None;
            }
        };
        let ended = if judged.is_ok() {
            Ended::Accepted
        } else {
            Ended::Refused
        };
        self.study.fleet.ended(id, &task, ended, self.study.now());
        Some(match judged {
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

    async fn note_failure(&self, id: &SessionId, failed: Failed) -> Verdict {
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
                let worker = id.worker().clone();
                let message = message.chars().take(2000).collect();
                self.reconciler
                    .failed(TaskFailure {
                        task,
                        worker,
                        message,
                        retryable,
                    })
                    .await;
                Verdict {
                    task: text,
                    accepted: true,
                    ..Verdict::default()
                }
            }
            Err(error) => not_understood(text, &InvalidMessage::new("task", error)),
        }
    }
}

enum Answerable {
    Done(Done),
    Failed(Failed),
}

fn check(hello: &Hello) -> Result<(), Status> {
    let length = hello.worker.chars().count();
    if length == 0 || length > NAME_MAX {
        return Err(status::invalid_field(
            "hello.worker",
            "must have 1 to 200 characters",
        ));
    }
    Ok(())
}

fn not_understood(task: String, error: &InvalidMessage) -> Verdict {
    warn!(task, error = %error, "a report was not understood");
    Verdict {
        task,
        accepted: false,
        reason: "invalid_message".to_owned(),
        message: error.to_string(),
    }
}

fn message(kind: Told) -> OrchestratorMessage {
    OrchestratorMessage { kind: Some(kind) }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
