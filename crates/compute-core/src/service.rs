//! The calls of compute-core.

mod bodies;
mod effort;
mod fault;
mod generating;
#[cfg(test)]
mod tests;
mod training;

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use clock::{Clock, SystemClock};
use federation::model::{Layer, Loss};
use proto::body;
use proto::v1::compute_server::Compute;
use proto::v1::{
    Body, BodyChunk, DescribeRequest, DescribeResponse, EvaluateRequest, EvaluateResponse,
    GenerateReply, GenerateRequest, HasRequest, HasResponse, InitRequest, PlanRequest,
    PlanResponse, PredictRequest, PutResponse, TensorMeta, TrainReply, TrainRequest,
};
use seams::{Seam, Seams};
use telemetry::metrics::Raised;
use telemetry::trace::{Span, Traced};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::arrivals::Arrivals;
use crate::cache::{Cache, Held};
use crate::engine::{self, Kernels};
use crate::memory;
use crate::metrics::Metrics;
use bodies::Parameters;
use effort::Effort;

/// Replies on their way to a caller that reads slowly: a few megabytes at most.
const REPLIES: usize = 8;

/// The calls of compute-core, over one cache.
#[derive(Debug, Clone)]
pub struct Service {
    cache: Arc<Cache>,
    arrivals: Arrivals,
    clock: Arc<dyn Clock>,
    running: Arc<Semaphore>,
    threads: NonZeroUsize,
    memory_bytes: u64,
    metrics: Metrics,
    seams: Seams,
}

/// Leave to compute, until it is dropped.
struct Turn {
    _permit: OwnedSemaphorePermit,
    _active: Raised,
}

impl Service {
    /// Answers with `concurrency` computations at once, each on `threads` threads.
    #[must_use]
    pub fn new(
        cache: Cache,
        concurrency: NonZeroUsize,
        threads: NonZeroUsize,
        metrics: Metrics,
    ) -> Self {
        let running = Arc::new(Semaphore::new(concurrency.get()));
        Self {
            cache: Arc::new(cache.counting(metrics.cache_hits.of("memory").clone())),
            arrivals: Arrivals::default(),
            clock: Arc::new(SystemClock::default()),
            running,
            threads,
            memory_bytes: memory::available(),
            metrics,
            seams: Seams::default(),
        }
    }

    /// Says that it may use `memory_bytes`, in place of what the system says.
    #[must_use]
    pub fn within(self, memory_bytes: u64) -> Self {
        Self {
            memory_bytes,
            ..self
        }
    }

    /// Waits by `clock`.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Passes every computation through `seams`, before it and after it.
    #[must_use]
    pub fn through(self, seams: Seams) -> Self {
        Self { seams, ..self }
    }

    async fn turn(&self) -> Result<Turn, Status> {
        let waiting = Raised::new(&self.metrics.waiting_tasks);
        let wait = self.metrics.turn_wait.start();
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_closed| fault::closing())?;
        wait.stop();
        drop(waiting);
        Ok(Turn {
            _permit: permit,
            _active: Raised::new(&self.metrics.active_tasks),
        })
    }

    async fn compute<T: Send + 'static>(
        &self,
        op: &'static str,
        effort: Effort,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.turn().await?;
        let _passage = self.seams.pass(Seam::Service, op, &()).await;
        let timer = self.metrics.processing.of(op).start();
        // The turn goes with the work, which does not end when its caller leaves.
        let work = move || {
            let _turn = turn;
            work()
        };
        let done = effort.spend(&Span::none(), work).await?;
        timer.stop();
        let _passage = self.seams.pass(Seam::Service, "answer", &()).await;
        Ok(done)
    }

    fn count_bytes(&self, op: &'static str, bytes: usize) {
        self.metrics.bytes.of(op).inc_by(bytes as u64);
    }

    async fn make_initial(&self, request: InitRequest) -> Result<Chunks, Status> {
        let InitRequest { model, seed } = request;
        let model = fault::architecture(model.as_ref())?;
        let made = {
            let model = model.clone();
            let make = move || Ok(body::into_bytes(engine::initial_parameters(&model, seed)));
            self.compute("init", Effort::Long, make)
        };
        let bytes = made.await?;
        self.count_bytes("init", bytes.len());
        Ok(chunks(body::parameters_header(&model, &bytes), bytes))
    }

    /// Which of the digests are not held. What somebody brings just now is waited for.
    async fn missing(&self, digests: Vec<String>) -> Result<Vec<String>, Status> {
        self.settle("digests", &digests).await?;
        let timer = self.metrics.processing.of("has").start();
        let mut missing = digests;
        missing.retain(|digest| {
            let digest = digest.parse();
            !digest.is_ok_and(|digest| self.cache.holds(&digest))
        });
        timer.stop();
        Ok(missing)
    }

    /// Waits for those of the bodies of a field that are not held and that somebody brings just now.
    async fn settle(&self, field: &str, digests: &[String]) -> Result<(), Status> {
        let mut wanted = Vec::with_capacity(digests.len());
        for digest in digests {
            wanted.push(fault::digest(field, digest)?);
        }
        wanted.retain(|digest| !self.cache.holds(digest));
        self.arrivals.settled(&*self.clock, &wanted).await;
        Ok(())
    }

    async fn hold(&self, mut chunks: Streaming<BodyChunk>) -> Result<String, Status> {
        let _passage = self.seams.pass(Seam::Service, "put", &()).await;
        let timer = self.metrics.processing.of("put").start();
        let header = body::receive_header(&mut chunks).await;
        let (header, supersedes) = header.map_err(fault::body)?;
        let digest = fault::digest("header.digest", &header.digest)?;
        if !supersedes.is_empty() && supersedes != header.digest {
            let superseded = fault::digest("supersedes", &supersedes)?;
            self.cache.forget(&superseded);
            self.show_cache();
        }
        let _turn = self
            .arrivals
            .turn(&*self.clock, digest, header.length_bytes)
            .await;
        if !self.cache.holds(&digest) {
            let bytes = body::receive_rest(&header, chunks).await;
            let bytes = bytes.map_err(fault::body)?;
            self.metrics.cache_misses.of("memory").inc();
            self.count_bytes("put", bytes.len());
            let tensors = header.tensors;
            let evicted = self.cache.put(digest, Held { tensors, bytes });
            self.metrics.cache_evictions.of("memory").inc_by(evicted);
            self.show_cache();
        }
        timer.stop();
        Ok(header.digest)
    }

    fn show_cache(&self) {
        let cache_bytes = i64::try_from(self.cache.bytes()).unwrap_or(i64::MAX);
        self.metrics.cache_bytes.set(cache_bytes);
    }

    async fn measure(&self, request: EvaluateRequest) -> Result<EvaluateResponse, Status> {
        let model = fault::architecture(request.model.as_ref())?;
        let both = (&*request.parameters_digest, &*request.examples_digest);
        let (parameters, examples) = bodies::labelled(&self.cache, both, &model)?;
        let read = parameters.num_bytes() + examples.num_bytes();
        let threads = self.threads;
        let kernels = fault::kernels(&request.kernel_class)?;
        let has_labels = model.loss() != Loss::Regression;
        let effort = Effort::of_evaluation(&model, (examples.num_rows(), read));
        let work = move || {
            let rows = examples.rows()?;
            let examples = rows.examples(&model)?;
            kernels
                .run(|| engine::evaluate(&model, &parameters.numbers(), &examples, threads))
                .map_err(fault::evaluate)
        };
        let evaluation = self.compute("evaluate", effort, work).await?;
        self.count_bytes("evaluate", read);
        let accuracy = has_labels.then_some(evaluation.accuracy);
        Ok(EvaluateResponse {
            num_examples: evaluation.num_examples,
            loss: evaluation.loss,
            accuracy,
        })
    }

    async fn classify(&self, request: PredictRequest) -> Result<Chunks, Status> {
        let model = fault::architecture(request.model.as_ref())?;
        let both = (
            &*request.parameters_digest,
            "features_digest",
            &*request.features_digest,
        );
        bodies::are_held(&self.cache, both)?;
        let parameters = Parameters::held(&self.cache, &request.parameters_digest, &model)?;
        let (features, rows) = bodies::features(&self.cache, &request.features_digest, &model)?;
        let read = parameters.num_bytes() + features.len();
        let mut shape = vec![rows as u64, model.outputs() as u64];
        if model.loss() == Loss::NextToken {
            shape.insert(1, model.inputs() as u64);
        }
        let threads = self.threads;
        let work = move || {
            let features = body::as_numbers::<f32>(&features);
            let probabilities = engine::predict(&model, &parameters.numbers(), &features, threads)
                .map_err(fault::evaluate)?;
            Ok(body::into_bytes(probabilities))
        };
        let bytes = self.compute("predict", Effort::Long, work).await?;
        self.count_bytes("predict", read + bytes.len());
        let header = Body {
            digest: federation::Digest::of(&bytes).to_string(),
            length_bytes: bytes.len() as u64,
            tensors: vec![TensorMeta {
                name: "probabilities".to_owned(),
                dtype: proto::v1::Dtype::F32.into(),
                shape,
            }],
        };
        Ok(chunks(header, bytes))
    }
}

#[tonic::async_trait]
impl Compute for Service {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let timer = self.metrics.processing.of("describe").start();
        let described = DescribeResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layers: Layer::NAMES.map(str::to_owned).to_vec(),
            kernels: Kernels::native().class().to_string(),
            threads: u32::try_from(self.threads.get()).unwrap_or(u32::MAX),
            cache_bytes: self.cache.budget_bytes() as u64,
            kernel_classes: Kernels::available()
                .map(|kernels| kernels.class().to_string())
                .collect(),
            memory_bytes: self.memory_bytes,
        };
        timer.stop();
        Ok(Response::new(described))
    }

    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let foreseen = self.foresee(request.get_ref());
        self.metrics.counted(foreseen).map(Response::new)
    }

    type InitStream = Chunks;

    async fn init(&self, request: Request<InitRequest>) -> Result<Response<Chunks>, Status> {
        let made = self.make_initial(request.into_inner()).await;
        self.metrics.counted(made).map(Response::new)
    }

    async fn has(&self, request: Request<HasRequest>) -> Result<Response<HasResponse>, Status> {
        let missing = self.missing(request.into_inner().digests).await;
        let missing = self.metrics.counted(missing)?;
        Ok(Response::new(HasResponse { missing }))
    }

    async fn put(
        &self,
        request: Request<Streaming<BodyChunk>>,
    ) -> Result<Response<PutResponse>, Status> {
        let held = self.hold(request.into_inner()).await;
        let digest = self.metrics.counted(held)?;
        Ok(Response::new(PutResponse { digest }))
    }

    type TrainStream = ReceiverStream<Result<TrainReply, Status>>;

    async fn train(
        &self,
        request: Request<TrainRequest>,
    ) -> Result<Response<Self::TrainStream>, Status> {
        let planned = self.prepare_training(request.into_inner()).await;
        let training = self.metrics.counted(planned)?;
        let (replies, stream) = mpsc::channel(REPLIES);
        let service = self.clone();
        let trained = async move { service.train_in_turn(training, replies).await };
        tokio::spawn(trained.in_current());
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateResponse>, Status> {
        let measured = self.measure(request.into_inner()).await;
        self.metrics.counted(measured).map(Response::new)
    }

    type PredictStream = Chunks;

    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<Chunks>, Status> {
        let classified = self.classify(request.into_inner()).await;
        self.metrics.counted(classified).map(Response::new)
    }

    type GenerateStream = ReceiverStream<Result<GenerateReply, Status>>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let planned = self.plan_generation(request.into_inner());
        let generation = self.metrics.counted(planned)?;
        // One more for an error.
        let (replies, stream) = mpsc::channel(generation.length as usize + 1);
        let service = self.clone();
        let generated = async move { service.generate_in_turn(generation, replies).await };
        tokio::spawn(generated.in_current());
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Messages = Box<dyn Iterator<Item = Result<BodyChunk, Status>> + Send>;

type Chunks = futures::stream::Iter<Messages>;

fn chunks(header: Body, bytes: Bytes) -> Chunks {
    let messages: Messages = Box::new(body::messages(header, bytes).map(Ok));
    futures::stream::iter(messages)
}
