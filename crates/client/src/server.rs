//! An orchestrator for tests: says what it is told to, over a pipe in this process.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use proto::transport::{Incoming, Pipe};
use proto::v1;
use proto::v1::datasets_server::{Datasets, DatasetsServer};
use proto::v1::jobs_server::{Jobs, JobsServer};
use proto::v1::models_server::{Models, ModelsServer};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{Address, Client};

type Answer<T> = Result<Response<T>, Status>;
type Chunks<T> = BoxStream<'static, Result<T, Status>>;

/// What the server says, and what it was told.
#[derive(Default)]
pub(crate) struct Script {
    /// The streams of events, one for each call.
    pub(crate) watches: VecDeque<Vec<Result<v1::Event, Status>>>,
    /// Streams stay open after their last event.
    pub(crate) watches_last: bool,
    /// The cursors of those calls.
    pub(crate) cursors: Vec<u64>,
    /// The newest first.
    pub(crate) runs: Vec<v1::Run>,
    pub(crate) model: v1::PublishedModel,
    pub(crate) model_chunks: Vec<Result<Bytes, Status>>,
    /// What came up, without its options.
    pub(crate) uploaded: Vec<u8>,
    pub(crate) file_name: String,
    /// Whether the upload came to its end.
    pub(crate) uploaded_whole: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Server(pub(crate) Arc<Mutex<Script>>);

impl Server {
    pub(crate) fn new(script: Script) -> Self {
        Self(Arc::new(Mutex::new(script)))
    }

    /// A client whose calls about jobs are answered.
    pub(crate) fn jobs(&self) -> Client {
        let pipe = Pipe::default();
        self.listen_for_jobs(&pipe);
        Client::connect(&Address::Pipe(pipe))
    }

    /// Answers calls about jobs at `pipe` from now on.
    pub(crate) fn listen_for_jobs(&self, pipe: &Pipe) {
        listen(pipe, JobsServer::new(self.clone()));
    }

    /// A client whose calls about models are answered.
    pub(crate) fn models(&self) -> Client {
        let pipe = Pipe::default();
        listen(&pipe, ModelsServer::new(self.clone()));
        Client::connect(&Address::Pipe(pipe))
    }

    /// A client whose calls about data sets are answered.
    pub(crate) fn datasets(&self) -> Client {
        let pipe = Pipe::default();
        listen(&pipe, DatasetsServer::new(self.clone()));
        Client::connect(&Address::Pipe(pipe))
    }

    pub(crate) fn script<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

fn listen<S>(pipe: &Pipe, service: S)
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let incoming = Incoming::default().pipe(pipe.listen()).connections();
    let serving = proto::transport::server().serve_with_incoming(service, incoming);
    tokio::spawn(async move { serving.await.expect("the pipe stands") });
}

fn silent<T>() -> Answer<T> {
    Err(Status::unimplemented("no test needs this"))
}

#[async_trait]
impl Jobs for Server {
    type WatchStream = Chunks<v1::Event>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let events = self.script(|script| {
            script.cursors.push(request.get_ref().cursor);
            let events = script.watches.pop_front();
            events.map(|events| (events, script.watches_last))
        });
        let (events, last) = events.ok_or_else(|| Status::unavailable("no stream is left"))?;
        let events = stream::iter(events);
        Ok(Response::new(if last {
            events.chain(stream::pending()).boxed()
        } else {
            events.boxed()
        }))
    }

    async fn get(&self, request: Request<v1::GetRunRequest>) -> Answer<v1::Run> {
        let wanted = request.into_inner().run;
        let found = self.script(|script| {
            let mut runs = script.runs.iter();
            runs.find(|run| run.run == wanted).cloned()
        });
        let unknown = || {
            let message = format!("run {wanted} is not known");
            proto::fault::status(tonic::Code::NotFound, "RUN_NOT_FOUND", message, &[])
        };
        found.map(Response::new).ok_or_else(unknown)
    }

    async fn list(&self, request: Request<v1::ListRunsRequest>) -> Answer<v1::ListRunsResponse> {
        // One run a page, whatever was asked for; the token is the next run's index.
        let index: usize = request.get_ref().page_token.parse().unwrap_or(0);
        let (run, count) =
            self.script(|script| (script.runs.get(index).cloned(), script.runs.len()));
        let next = index + 1;
        Ok(Response::new(v1::ListRunsResponse {
            runs: run.into_iter().collect(),
            next_page_token: if next < count {
                next.to_string()
            } else {
                String::new()
            },
        }))
    }

    async fn submit(&self, _: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        silent()
    }
    async fn validate(&self, _: Request<v1::ValidateRequest>) -> Answer<v1::ValidateResponse> {
        silent()
    }
    async fn cancel(&self, _: Request<v1::CancelRequest>) -> Answer<v1::Run> {
        silent()
    }
    async fn pause(&self, _: Request<v1::PauseRequest>) -> Answer<v1::Run> {
        silent()
    }
    async fn resume(&self, _: Request<v1::ResumeRequest>) -> Answer<v1::Run> {
        silent()
    }
    async fn replay(&self, _: Request<v1::ReplayRequest>) -> Answer<v1::ReplayResponse> {
        silent()
    }
    async fn list_rounds(
        &self,
        _: Request<v1::ListRoundsRequest>,
    ) -> Answer<v1::ListRoundsResponse> {
        silent()
    }
}

#[async_trait]
impl Models for Server {
    type DownloadStream = Chunks<v1::DownloadChunk>;
    type PredictStream = Chunks<v1::PredictChunk>;
    type GenerateStream = Chunks<v1::GenerateTextChunk>;

    async fn get(&self, _: Request<v1::GetModelRequest>) -> Answer<v1::PublishedModel> {
        Ok(Response::new(self.script(|script| script.model.clone())))
    }

    async fn download(&self, _: Request<v1::GetModelRequest>) -> Answer<Self::DownloadStream> {
        let chunks = self.script(|script| std::mem::take(&mut script.model_chunks));
        let chunks = chunks
            .into_iter()
            .map(|data| data.map(|data| v1::DownloadChunk { data }));
        Ok(Response::new(stream::iter(chunks).boxed()))
    }

    /// Answers each piece with the same piece.
    async fn predict(
        &self,
        rows: Request<Streaming<v1::ModelInput>>,
    ) -> Answer<Self::PredictStream> {
        let pieces = rows.into_inner().filter_map(async |input| match input {
            Ok(v1::ModelInput {
                part: Some(v1::model_input::Part::Data(data)),
            }) => Some(Ok(v1::PredictChunk { data })),
            Ok(_options) => None,
            Err(status) => Some(Err(status)),
        });
        Ok(Response::new(pieces.boxed()))
    }

    async fn generate(&self, _: Request<v1::GenerateTextRequest>) -> Answer<Self::GenerateStream> {
        silent()
    }
    async fn list(&self, _: Request<v1::ListModelsRequest>) -> Answer<v1::ListModelsResponse> {
        silent()
    }
    async fn evaluate(
        &self,
        _: Request<Streaming<v1::ModelInput>>,
    ) -> Answer<v1::EvaluateModelResponse> {
        silent()
    }
}

#[async_trait]
impl Datasets for Server {
    async fn import(
        &self,
        request: Request<Streaming<v1::ImportDatasetRequest>>,
    ) -> Answer<v1::Dataset> {
        let mut request = request.into_inner();
        while let Some(message) = request.message().await? {
            self.script(|script| match message.part {
                Some(v1::import_dataset_request::Part::Options(options)) => {
                    script.file_name = options.file_name;
                }
                Some(v1::import_dataset_request::Part::Data(data)) => {
                    script.uploaded.extend_from_slice(&data);
                }
                None => {}
            });
        }
        self.script(|script| script.uploaded_whole = true);
        Ok(Response::new(v1::Dataset::default()))
    }

    async fn list(&self, _: Request<v1::ListDatasetsRequest>) -> Answer<v1::ListDatasetsResponse> {
        silent()
    }
    async fn show(&self, _: Request<v1::ShowDatasetRequest>) -> Answer<v1::ShowDatasetResponse> {
        silent()
    }
}
