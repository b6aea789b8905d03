//! A collector for tests: takes what OTLP brings, keeps it, and answers as it is told.
//!
//! It listens on a port of this host and works on a thread of its own, so that a test may block
//! its own runtime. Dropped, it closes the port and every connection.

mod seen;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

pub use seen::{Received, SeenLink, SeenLog, SeenSpan};

/// How a sink answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Takes everything.
    Accept,
    /// Takes everything, and says that so many records of each request were refused.
    Reject(u32),
    /// Takes nothing, and says so.
    Refuse(Code),
    /// Takes nothing, and says nothing.
    Silence,
}

/// A collector for tests.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    received: watch::Sender<Received>,
    answer: watch::Sender<Answer>,
}

impl Sink {
    /// On a free port.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// At this address, such as that of a sink before.
    ///
    /// # Errors
    ///
    /// When somebody else is there.
    pub fn start_at(address: SocketAddr) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpIncoming::bind(address)?
        };
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            received: watch::Sender::new(Received::default()),
            answer: watch::Sender::new(Answer::Accept),
        });
        let services = Server::builder()
            .add_service(TraceServiceServer::from_arc(Arc::clone(&state)))
            .add_service(LogsServiceServer::from_arc(Arc::clone(&state)));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = services.serve_with_incoming(listener) => drop(served),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: Answer) {
        self.state.answer.send_replace(answer);
    }

    /// What has come so far.
    #[must_use]
    pub fn received(&self) -> Received {
        self.state.received.borrow().clone()
    }

    /// What has come when it is `enough`, or when the `patience` is over.
    pub async fn until(
        &self,
        patience: Duration,
        enough: impl FnMut(&Received) -> bool,
    ) -> Received {
        let mut received = self.state.received.subscribe();
        // Whoever waited in vain sees what there is.
        drop(tokio::time::timeout(patience, received.wait_for(enough)).await);
        self.received()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl State {
    /// Notes a request and says how many of its records are refused, after `take` has kept them.
    async fn take(
        &self,
        metadata: &tonic::metadata::MetadataMap,
        take: impl FnOnce(&mut Received),
    ) -> Result<i64, Status> {
        let answer = *self.answer.borrow();
        let accepts = matches!(answer, Answer::Accept | Answer::Reject(_));
        self.received.send_modify(|received| {
            received.note(metadata);
            if accepts {
                take(received);
            }
        });
        match answer {
            Answer::Accept => Ok(0),
            Answer::Reject(records) => Ok(records.into()),
            Answer::Refuse(code) => Err(Status::new(code, "as the test has it")),
            Answer::Silence => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl TraceService for State {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let take = |received: &mut Received| received.take_spans(message);
        let rejected_spans = self.take(&metadata, take).await?;
        let partial_success = (rejected_spans > 0).then(|| ExportTracePartialSuccess {
            rejected_spans,
            error_message: "as the test has it".to_owned(),
        });
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success,
        }))
    }
}

#[tonic::async_trait]
impl LogsService for State {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let take = |received: &mut Received| received.take_logs(message);
        let rejected_log_records = self.take(&metadata, take).await?;
        let partial_success = (rejected_log_records > 0).then(|| ExportLogsPartialSuccess {
            rejected_log_records,
            error_message: "as the test has it".to_owned(),
        });
        Ok(Response::new(ExportLogsServiceResponse { partial_success }))
    }
}
