//! Sessions of workers.

mod reports;

use std::sync::Arc;
use std::time::Duration;

use federation::WorkerId;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use proto::v1::orchestrator_message::{self, Kind as Told, Welcome};
use proto::v1::worker_message::{Hello, Kind as Said};
use proto::v1::workers_server::Workers;
use proto::v1::{
    DrainWorkerRequest, DrainWorkerResponse, ListWorkersRequest, ListWorkersResponse,
    OrchestratorMessage, WorkerMessage,
};
use telemetry::metrics::Timer;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

use super::{Api, status};
use crate::fleet::SessionId;
use crate::metrics::fleet::Agent;
use reports::Answerable;

/// Messages that may wait for a worker.
const OUTBOX: usize = 64;

/// Reports of one worker that are judged at once.
const JUDGED_AT_ONCE: usize = 16;

/// How long the answer to a ping may take; then it is given up and another one is sent.
const PING_PATIENCE: Duration = Duration::from_secs(60);

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

        let (api, ending) = (self.clone(), self.closing.child_token());
        let ended = ending.clone().cancelled_owned().boxed();
        tokio::spawn(async move {
            let judging = Arc::new(Semaphore::new(JUDGED_AT_ONCE));
            let talk = Talk {
                agent: api.study.metrics.agents.of(id.worker(), api.study.now()),
                id: id.clone(),
                outbox,
                ending,
                judging,
            };
            tokio::select! {
                biased;
                () = talk.ending.cancelled() => {}
                () = api.listen(said, &talk) => {}
            }
            drop(talk);
            api.study.metrics.agents.look(api.study.now());
            api.study.fleet.leave(&id);
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
    /// Measures the way to a worker, if that is not under way.
    fn ping(&self, ping: &mut Ping, talk: &Talk) {
        let now = self.study.clock.elapsed();
        let Some(next) = ping.next(now) else {
            return;
        };
        let timer = self.study.metrics.fleet.latency_seconds.start();
        // A worker that does not read is not measured.
        if talk.outbox.try_send(next).is_ok() {
            ping.sent(timer, now);
        }
    }

    async fn listen(&self, mut said: Streaming<WorkerMessage>, talk: &Talk) {
        let id = &talk.id;
        let mut ping = Ping::default();
        while let Ok(Some(message)) = said.message().await {
            let now = self.study.now();
            match message.kind {
                Some(Said::Progress(progress)) => {
                    talk.agent.metric.inc();
                    self.study.fleet.progressed(id, progress, now);
                }
                Some(Said::Done(done)) => self.answer(talk, Answerable::Done(done)).await,
                Some(Said::Failed(failed)) => {
                    self.answer(talk, Answerable::Failed(failed)).await;
                }
                Some(Said::Heartbeat(heartbeat)) => {
                    self.study.fleet.heard(id, &heartbeat.tasks, now);
                    self.ping(&mut ping, talk);
                }
                Some(Said::Engine(engine)) => self.study.fleet.told_engine(id, engine),
                Some(Said::Pong(pong)) => ping.answered(pong.number),
                Some(Said::Hello(_)) | None => {}
            }
        }
    }
}

/// The way to a worker and back, measured at heartbeats: one ping after the other, so that a way
/// which takes longer than a heartbeat is measured too.
#[derive(Default)]
struct Ping {
    number: u64,
    // None once it was answered; one that is not counts nothing.
    under_way: Option<UnderWay>,
}

/// A ping without an answer.
struct UnderWay {
    timer: Timer,
    since: Duration,
}

impl Ping {
    /// The next ping, unless there is one whose answer may still come.
    fn next(&self, now: Duration) -> Option<OrchestratorMessage> {
        let waits = |ping: &UnderWay| now.saturating_sub(ping.since) < PING_PATIENCE;
        if self.under_way.as_ref().is_some_and(waits) {
            return None;
        }
        let number = self.number + 1;
        Some(message(Told::Ping(orchestrator_message::Ping { number })))
    }

    fn sent(&mut self, timer: Timer, since: Duration) {
        self.number += 1;
        self.under_way = Some(UnderWay { timer, since });
    }

    fn answered(&mut self, number: u64) {
        let answered = self.under_way.take_if(|_ping| number == self.number);
        if let Some(ping) = answered {
            ping.timer.stop();
        }
    }
}

/// One session's way back to its worker.
#[derive(Clone)]
struct Talk {
    id: SessionId,
    agent: Arc<Agent>,
    outbox: mpsc::Sender<OrchestratorMessage>,
    /// Ends the session. The worker opens another one and repeats what was not answered.
    ending: CancellationToken,
    /// Reports that are judged at once; a worker that sends more waits to be heard.
    judging: Arc<Semaphore>,
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

fn message(kind: Told) -> OrchestratorMessage {
    OrchestratorMessage { kind: Some(kind) }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
