//! Sessions of workers.

use std::sync::Arc;
use std::time::Duration;

use federation::WorkerId;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use proto::convert::InvalidMessage;
use proto::v1::orchestrator_message::{Kind as Told, Verdict, Welcome};
use proto::v1::worker_message::{Done, Failed, Hello, Kind as Said};
use proto::v1::workers_server::Workers;
use proto::v1::{
    DrainWorkerRequest, DrainWorkerResponse, ListWorkersRequest, ListWorkersResponse,
    OrchestratorMessage, WorkerMessage,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{Api, status};
use crate::collect::Incoming;
use crate::fleet::{Ended, SessionId};
use crate::reconciler::{NotKept, TaskFailure};

/// Messages that may wait for a worker.
const OUTBOX: usize = 64;

/// Reports of one worker that are judged at once.
const JUDGED_AT_ONCE: usize = 16;

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
        };
        // The outbox is new and has room.
        drop(outbox.try_send(message(Told::Welcome(welcome))));
        self.count_workers();

        let (api, ending) = (self.clone(), self.closing.child_token());
        let ended = ending.clone().cancelled_owned().boxed();
        tokio::spawn(async move {
            let judging = Arc::new(Semaphore::new(JUDGED_AT_ONCE));
            let talk = Talk {
                id,
                outbox,
                ending,
                judging,
            };
            tokio::select! {
                () = api.listen(said, &talk) => {}
                () = talk.ending.cancelled() => {}
            }
            let id = talk.id;
            api.study.fleet.leave(&id);
            api.count_workers();
            info!(worker = %id.worker(), "worker gone");
        });
        let stream = ReceiverStream::new(told).map(Ok).take_until(ended);
        Ok(Response::new(stream.boxed()))
    }

    async fn list(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let workers = self.study.fleet.list(self.study.now());
        Ok(Response::new(ListWorkersResponse { workers }))
    }

    async fn drain(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        let name = request.into_inner().worker;
        let told = self.study.fleet.drain(&WorkerId(name.clone()));
        let workers = self.study.fleet.list(self.study.now());
        let worker = workers
            .into_iter()
            .find(|worker| told && worker.worker == name);
        let hint = "`pangea workers` lists those that are connected";
        let worker = worker.ok_or_else(|| status::not_found("worker", &name, hint))?;
        info!(worker = name, "worker told to drain");
        Ok(Response::new(DrainWorkerResponse {
            worker: Some(worker),
        }))
    }
}

impl Api {
    fn count_workers(&self) {
        let connected = i64::try_from(self.study.fleet.connected()).unwrap_or(i64::MAX);
        self.study.metrics.active_workers.set(connected);
    }

    async fn listen(&self, mut said: Streaming<WorkerMessage>, talk: &Talk) {
        let id = &talk.id;
        while let Ok(Some(message)) = said.message().await {
            let now = self.study.now();
            match message.kind {
                Some(Said::Progress(progress)) => self.study.fleet.progressed(id, progress, now),
                Some(Said::Done(done)) => self.answer(talk, Answerable::Done(done)).await,
                Some(Said::Failed(failed)) => {
                    self.answer(talk, Answerable::Failed(failed)).await;
                }
                Some(Said::Heartbeat(heartbeat)) => {
                    self.study.fleet.heard(id, &heartbeat.tasks, now);
                }
                Some(Said::Hello(_) | Said::Pong(_)) | None => {}
            }
        }
    }

    // Judging reads the whole update; heartbeats must not wait for it.
    async fn answer(&self, talk: &Talk, what: Answerable) {
        let Ok(turn) = Arc::clone(&talk.judging).acquire_owned().await else {
            return;
        };
        let (api, talk) = (self.clone(), talk.clone());
        tokio::spawn(async move {
            let _turn = turn;
            let judged = match what {
                Answerable::Done(done) => api.judge(&talk.id, &done).await,
                Answerable::Failed(failed) => api.note_failure(&talk.id, failed).await,
            };
            match judged {
                // A worker whose session ended reports again.
                Ok(verdict) => drop(talk.outbox.send(message(Told::Verdict(verdict))).await),
                Err(error) => {
                    warn!(worker = %talk.id.worker(), error = %error, "session ended, so that the worker reports again");
                    talk.ending.cancel();
                }
            }
        });
    }

    async fn judge(&self, id: &SessionId, done: &Done) -> Result<Verdict, NotKept> {
        let task = done.task.clone();
        let incoming = match Incoming::new(id.worker().clone(), done) {
            Ok(incoming) => incoming,
            Err(error) => return Ok(not_understood(task, &error)),
        };
        let judged = self.reconciler.report(incoming).await?;
        let ended = if judged.is_ok() {
            Ended::Accepted
        } else {
            Ended::Refused
        };
        self.study.fleet.ended(id, &task, ended, self.study.now());
        Ok(match judged {
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

    async fn note_failure(&self, id: &SessionId, failed: Failed) -> Result<Verdict, NotKept> {
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
                    .await?;
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

/// One session's way back to its worker.
#[derive(Clone)]
struct Talk {
    id: SessionId,
    outbox: mpsc::Sender<OrchestratorMessage>,
    /// Ends the session. The worker opens another one and repeats what was not answered.
    ending: CancellationToken,
    /// Reports that are judged at once; a worker that sends more waits to be heard.
    judging: Arc<Semaphore>,
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
