//! The calls of compute-core.

mod bodies;
mod fault;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use federation::local::LocalTraining;
use federation::model::Architecture;
use proto::body;
use proto::v1::compute_server::Compute;
use proto::v1::{
    Body, BodyChunk, DescribeRequest, DescribeResponse, EvaluateRequest, EvaluateResponse,
    HasRequest, HasResponse, InitRequest, PredictRequest, PutResponse, TensorMeta, TrainProgress,
    TrainReply, TrainRequest, TrainResult, train_reply,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use crate::cache::{Cache, Held};
use crate::engine::{self, Trainer};
use crate::metrics::Metrics;
use bodies::{Labelled, Parameters};

/// Replies on their way to a caller that reads slowly: a few megabytes at most.
const REPLIES: usize = 8;

/// Progress messages of one training, however many steps it has.
const PROGRESS_MESSAGES: u64 = 20;

/// The calls of compute-core, over one cache.
#[derive(Debug, Clone)]
pub struct Service {
    cache: Arc<Cache>,
    running: Arc<Semaphore>,
    threads: NonZeroUsize,
    metrics: Metrics,
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
            cache: Arc::new(cache),
            running,
            threads,
            metrics,
        }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_closed| fault::closing())
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.turn().await?;
        // The turn goes with the work, which does not end when its caller leaves.
        let work = move || {
            let _turn = turn;
            work()
        };
        finished(tokio::task::spawn_blocking(work).await)
    }
}

#[tonic::async_trait]
impl Compute for Service {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layers: ["linear", "relu", "gelu"].map(str::to_owned).to_vec(),
            kernels: kernels().to_owned(),
            threads: u32::try_from(self.threads.get()).unwrap_or(u32::MAX),
            cache_bytes: self.cache.budget_bytes() as u64,
        }))
    }

    type InitStream = Chunks;

    async fn init(&self, request: Request<InitRequest>) -> Result<Response<Chunks>, Status> {
        let InitRequest { model, seed } = request.into_inner();
        let model = fault::architecture(model.as_ref())?;
        let made = {
            let model = model.clone();
            self.compute(move || Ok(body::into_bytes(engine::initial_parameters(&model, seed))))
        };
        let bytes = made.await?;
        Ok(Response::new(chunks(
            body::parameters_header(&model, &bytes),
            bytes,
        )))
    }

    async fn has(&self, request: Request<HasRequest>) -> Result<Response<HasResponse>, Status> {
        let mut missing = request.into_inner().digests;
        let mut invalid = None;
        missing.retain(|digest| match fault::digest("digests", digest) {
            Ok(digest) => self.cache.get(&digest).is_none(),
            Err(status) => {
                invalid = Some(status);
                false
            }
        });
        invalid.map_or(Ok(Response::new(HasResponse { missing })), Err)
    }

    async fn put(
        &self,
        request: Request<Streaming<BodyChunk>>,
    ) -> Result<Response<PutResponse>, Status> {
        let received = body::receive(request.into_inner()).await;
        let (header, bytes) = received.map_err(fault::body)?;
        let digest = fault::digest("header.digest", &header.digest)?;
        self.cache.put(
            digest,
            Held {
                tensors: header.tensors,
                bytes,
            },
        );
        self.metrics
            .cache_bytes
            .set(i64::try_from(self.cache.bytes()).unwrap_or(i64::MAX));
        Ok(Response::new(PutResponse {
            digest: header.digest,
        }))
    }

    type TrainStream = ReceiverStream<Result<TrainReply, Status>>;

    async fn train(
        &self,
        request: Request<TrainRequest>,
    ) -> Result<Response<Self::TrainStream>, Status> {
        let request = request.into_inner();
        let model = fault::architecture(request.model.as_ref())?;
        let local = request
            .local
            .as_ref()
            .ok_or_else(|| fault::missing("local"))?;
        let local = LocalTraining::try_from(local).map_err(fault::invalid)?;
        let parameters = Parameters::held(&self.cache, &request.parameters_digest, &model)?;
        let examples = Labelled::held(&self.cache, &request.examples_digest, &model)?;
        let training = Training {
            model,
            local,
            parameters,
            examples,
            seed: request.seed,
            threads: self.threads,
        };

        let (replies, stream) = mpsc::channel(REPLIES);
        let service = self.clone();
        tokio::spawn(async move {
            let turn = tokio::select! {
                turn = service.turn() => turn,
                () = replies.closed() => return,
            };
            let Ok(_turn) = turn else {
                return;
            };
            let timer = service.metrics.train_seconds.start();
            let progress = replies.clone();
            let trained = tokio::task::spawn_blocking(move || training.run(&progress)).await;
            match finished(trained) {
                Ok((result, delta)) => {
                    timer.stop();
                    service.metrics.steps.inc_by(u64::from(result.num_steps));
                    send_result(&replies, result, delta).await;
                }
                Err(status) => {
                    service.metrics.train_failures.inc();
                    debug!(error = status.message(), "training ended without a delta");
                    // The caller may be gone; then nobody is left to tell.
                    drop(replies.send(Err(status)).await);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateResponse>, Status> {
        let request = request.into_inner();
        let model = fault::architecture(request.model.as_ref())?;
        let parameters = Parameters::held(&self.cache, &request.parameters_digest, &model)?;
        let examples = Labelled::held(&self.cache, &request.examples_digest, &model)?;
        let threads = self.threads;
        let work = move || {
            let rows = examples.rows()?;
            let examples = rows.examples(&model)?;
            engine::evaluate(&model, &parameters.numbers(), &examples, threads)
                .map_err(fault::evaluate)
        };
        let evaluation = self.compute(work).await?;
        Ok(Response::new(EvaluateResponse {
            num_examples: evaluation.num_examples,
            loss: evaluation.loss,
            accuracy: evaluation.accuracy,
        }))
    }

    type PredictStream = Chunks;

    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<Chunks>, Status> {
        let request = request.into_inner();
        let model = fault::architecture(request.model.as_ref())?;
        let parameters = Parameters::held(&self.cache, &request.parameters_digest, &model)?;
        let (features, rows) = bodies::features(&self.cache, &request.features_digest, &model)?;
        let classes = model.outputs();
        let threads = self.threads;
        let work = move || {
            let features = body::as_numbers::<f32>(&features);
            let probabilities = engine::predict(&model, &parameters.numbers(), &features, threads)
                .map_err(fault::evaluate)?;
            Ok(body::into_bytes(probabilities))
        };
        let bytes = self.compute(work).await?;
        let header = Body {
            digest: federation::Digest::of(&bytes).to_string(),
            length_bytes: bytes.len() as u64,
            tensors: vec![TensorMeta {
                name: "probabilities".to_owned(),
                dtype: proto::v1::Dtype::F32.into(),
                shape: vec![rows as u64, classes as u64],
            }],
        };
        Ok(Response::new(chunks(header, bytes)))
    }
}

struct Training {
    model: Architecture,
    local: LocalTraining,
    parameters: Parameters,
    examples: Labelled,
    seed: u64,
    threads: NonZeroUsize,
}

impl Training {
    /// Trains until done, or until nobody listens any more.
    fn run(
        self,
        replies: &mpsc::Sender<Result<TrainReply, Status>>,
    ) -> Result<(TrainResult, Bytes), Status> {
        let rows = self.examples.rows()?;
        let examples = rows.examples(&self.model)?;
        let base = self.parameters.numbers();
        let mut parameters = base.to_vec();
        let mut trainer = Trainer::new(&self.model, &self.local, examples.rows(), self.threads)
            .map_err(fault::plan)?;
        let mut watch = |progress: engine::Progress| {
            if replies.is_closed() {
                return ControlFlow::Break(());
            }
            let every = progress.steps_total.div_ceil(PROGRESS_MESSAGES).max(1);
            if progress.step.is_multiple_of(every) {
                let part = train_reply::Part::Progress(told(progress));
                // A caller that reads slowly misses some progress and nothing else.
                drop(replies.try_send(Ok(TrainReply { part: Some(part) })));
            }
            ControlFlow::Continue(())
        };
        let report = trainer
            .train(&mut parameters, &examples, self.seed, &mut watch)
            .map_err(fault::train)?;
        for (after, before) in parameters.iter_mut().zip(base.iter()) {
            *after -= before;
        }
        let delta = body::into_bytes(parameters);
        let result = TrainResult {
            num_examples: report.num_examples,
            num_steps: u32::try_from(report.num_steps).unwrap_or(u32::MAX),
            mean_loss: report.last_epoch_loss,
            delta: Some(body::parameters_header(&self.model, &delta)),
        };
        Ok((result, delta))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a loss is shown, not computed with"
)]
fn told(progress: engine::Progress) -> TrainProgress {
    TrainProgress {
        step: u32::try_from(progress.step).unwrap_or(u32::MAX),
        steps_total: u32::try_from(progress.steps_total).unwrap_or(u32::MAX),
        loss: progress.loss as f32,
    }
}

async fn send_result(
    replies: &mpsc::Sender<Result<TrainReply, Status>>,
    result: TrainResult,
    delta: Bytes,
) {
    let first = train_reply::Part::Result(result);
    let rest = body::chunks(delta).map(train_reply::Part::Data);
    for part in std::iter::once(first).chain(rest) {
        if replies
            .send(Ok(TrainReply { part: Some(part) }))
            .await
            .is_err()
        {
            return;
        }
    }
}

type Messages = Box<dyn Iterator<Item = Result<BodyChunk, Status>> + Send>;

type Chunks = futures::stream::Iter<Messages>;

fn chunks(header: Body, bytes: Bytes) -> Chunks {
    let messages: Messages = Box::new(body::messages(header, bytes).map(Ok));
    futures::stream::iter(messages)
}

fn finished<T>(joined: Result<Result<T, Status>, tokio::task::JoinError>) -> Result<T, Status> {
    joined.unwrap_or_else(|error| Err(fault::broken(&error)))
}

/// The class of kernels that the processor gets. Results are bit-identical within one class.
#[must_use]
pub fn kernels() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "x86-64-v4";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return "x86-64-v3";
        }
    }
    std::env::consts::ARCH
}
