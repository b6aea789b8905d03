//! The calling side of compute-core: gives it what it does not hold, then asks.

mod pieces;

use std::sync::Arc;

use crate::transport::Outgoing;
use bytes::Bytes;
use federation::local::LocalTraining;
use federation::model::Architecture;
use federation::{Digest, KernelClass};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use thiserror::Error;
use tonic::Status;

use crate::body::{self, BodyError, Passing};
use crate::fault;
use crate::v1::compute_client::ComputeClient;
use crate::v1::{
    Body, BodyChunk, DescribeRequest, DescribeResponse, EvaluateRequest, EvaluateResponse,
    GenerateRequest, HasRequest, InitRequest, PlanRequest, PlanResponse, PredictRequest,
    TrainProgress, TrainRequest, TrainResult, body_chunk, train_reply,
};

pub use pieces::{Pieces, Unloaded};

/// How often inputs are given again when compute-core forgot them between two calls: it may
/// restart, or evict them under pressure from others.
const ATTEMPTS: usize = 4;

/// Most tokens of one generation. compute-core sets room aside for all of them, a few megabytes, so
/// that a caller that does not read keeps nobody else waiting.
pub const GENERATED_MAX: u32 = 1 << 16;

/// Why compute-core gave no answer.
#[derive(Debug, Error)]
pub enum EngineError {
    /// An input could not be had.
    #[error(transparent)]
    Load(Unloaded),
    /// The call failed.
    #[error("compute-core: {}", .0.message())]
    Call(#[from] Box<Status>),
    /// The answer is not what it says it is.
    #[error("compute-core answered: {0}")]
    Answer(#[from] BodyError),
    /// Inputs were forgotten faster than they could be used.
    #[error("compute-core forgot its inputs {ATTEMPTS} times; its cache is too small for them")]
    Forgetful,
}

impl EngineError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Call(status) => fault::is_transient(status),
            Self::Answer(BodyError::Broken(status)) => fault::is_transient(status),
            Self::Forgetful => true,
            Self::Load(_) | Self::Answer(_) => false,
        }
    }
}

impl From<Status> for EngineError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// A body that a call needs, and how to get its bytes if compute-core does not hold it.
pub struct Input<'a> {
    /// What it is.
    pub body: &'a Body,
    /// Fetches the bytes.
    pub load: Box<dyn Fn() -> Loading<'a> + Send + Sync + 'a>,
}

/// Bytes on their way: they go on to compute-core piece by piece as they come.
pub type Loading<'a> = BoxFuture<'a, Result<Pieces, Unloaded>>;

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Input").field(&self.body.digest).finish()
    }
}

/// A compute-core somewhere.
#[derive(Debug, Clone)]
pub struct Engine {
    client: ComputeClient<Outgoing>,
    on_behalf_of: Arc<str>,
    kernel_class: Option<KernelClass>,
}

/// What is heard of a training that goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainWord {
    /// It waits for its turn.
    Queued,
    /// It has taken steps.
    Progress(TrainProgress),
    /// It is done, and its delta is on the way.
    Delta,
    /// compute-core does not hold an input, which is being sent; nothing is heard until it is.
    Lacking,
    /// compute-core has what it lacked.
    Supplied,
}

impl Engine {
    /// The compute-core at the other end.
    #[must_use]
    pub fn over(outgoing: Outgoing) -> Self {
        Self {
            client: ComputeClient::new(outgoing),
            on_behalf_of: Arc::default(),
            kernel_class: None,
        }
    }

    /// The same, where its spans say that a training is for `client`.
    #[must_use]
    pub fn on_behalf_of(&self, client: &str) -> Self {
        Self {
            on_behalf_of: client.into(),
            ..self.clone()
        }
    }

    /// The same, where it trains and evaluates with kernels of `class`, if that is one.
    #[must_use]
    pub fn with_kernels(&self, class: Option<KernelClass>) -> Self {
        Self {
            kernel_class: class,
            ..self.clone()
        }
    }

    fn kernel_class(&self) -> String {
        self.kernel_class
            .map_or_else(String::new, |class| class.to_string())
    }

    /// What it can do.
    ///
    /// # Errors
    ///
    /// [`EngineError::Call`] when it does not answer.
    pub async fn describe(&self) -> Result<DescribeResponse, EngineError> {
        let mut client = self.client.clone();
        Ok(client.describe(DescribeRequest {}).await?.into_inner())
    }

    /// What a training on a shard of `rows` rows would take.
    ///
    /// # Errors
    ///
    /// [`EngineError::Call`] when it does not answer, or would plan no such training.
    pub async fn plan(
        &self,
        model: &Architecture,
        local: &LocalTraining,
        rows: u64,
    ) -> Result<PlanResponse, EngineError> {
        let request = PlanRequest {
            model: Some(model.into()),
            local: Some(local.into()),
            rows,
        };
        let mut client = self.client.clone();
        Ok(client.plan(request).await?.into_inner())
    }

    /// The initial parameters of a model.
    ///
    /// # Errors
    ///
    /// [`EngineError::Call`] and [`EngineError::Answer`].
    pub async fn init(
        &self,
        model: &Architecture,
        seed: u64,
    ) -> Result<(Body, Bytes), EngineError> {
        let mut client = self.client.clone();
        let request = InitRequest {
            model: Some(model.into()),
            seed,
        };
        let chunks = client.init(request).await?.into_inner();
        Ok(body::receive(chunks).await?)
    }

    /// Trains on a shard: the result, and the delta as it came. It is as long as it was announced;
    /// whether it is what was announced is for who keeps it to see.
    ///
    /// Whoever has the inputs [held](Self::hold) before spares a refused call.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; dropping the future cancels the training.
    pub async fn train(
        &self,
        model: &Architecture,
        inputs: Inputs<'_>,
        local: &LocalTraining,
        seed: u64,
        on_word: &mut (dyn FnMut(TrainWord) + Send),
    ) -> Result<(TrainResult, Passing), EngineError> {
        let request = TrainRequest {
            model: Some(model.into()),
            parameters_digest: inputs.parameters.body.digest.clone(),
            examples_digest: inputs.examples.body.digest.clone(),
            local: Some(local.into()),
            seed,
            client: self.on_behalf_of.to_string(),
            kernel_class: self.kernel_class(),
        };
        for _ in 0..ATTEMPTS {
            match self.train_once(request.clone(), on_word).await {
                Err(EngineError::Call(status)) if forgot(&status) => {
                    on_word(TrainWord::Lacking);
                    self.hold(&inputs).await?;
                    on_word(TrainWord::Supplied);
                }
                answer => return answer,
            }
        }
        Err(EngineError::Forgetful)
    }

    async fn train_once(
        &self,
        request: TrainRequest,
        on_word: &mut (dyn FnMut(TrainWord) + Send),
    ) -> Result<(TrainResult, Passing), EngineError> {
        let mut client = self.client.clone();
        let mut replies = client.train(request).await?.into_inner();
        let mut announced: Option<(TrainResult, Passing)> = None;
        while let Some(reply) = replies.message().await? {
            match (reply.part, &mut announced) {
                (Some(train_reply::Part::Queued(_)), None) => on_word(TrainWord::Queued),
                (Some(train_reply::Part::Progress(progress)), None) => {
                    on_word(TrainWord::Progress(progress));
                }
                (Some(train_reply::Part::Result(result)), None) => {
                    on_word(TrainWord::Delta);
                    let header = result.delta.as_ref().ok_or(BodyError::NoHeader)?;
                    let delta = Passing::new(header)?;
                    announced = Some((result, delta));
                }
                (Some(train_reply::Part::Data(data)), Some((_, delta))) => {
                    on_word(TrainWord::Delta);
                    delta.push(data)?;
                }
                _ => return Err(BodyError::SecondHeader.into()),
            }
        }
        let (result, delta) = announced.ok_or(BodyError::NoHeader)?;
        Ok((result, delta.whole()?))
    }

    /// Loss and accuracy of a model on examples.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn evaluate(
        &self,
        model: &Architecture,
        inputs: Inputs<'_>,
    ) -> Result<EvaluateResponse, EngineError> {
        let request = EvaluateRequest {
            model: Some(model.into()),
            parameters_digest: inputs.parameters.body.digest.clone(),
            examples_digest: inputs.examples.body.digest.clone(),
            kernel_class: self.kernel_class(),
        };
        for _ in 0..ATTEMPTS {
            self.hold(&inputs).await?;
            match self.client.clone().evaluate(request.clone()).await {
                Err(status) if forgot(&status) => {}
                answer => return Ok(answer?.into_inner()),
            }
        }
        Err(EngineError::Forgetful)
    }

    /// Class probabilities, `[rows, classes]` as raw f32; the examples are a body with the one
    /// tensor `features`.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn predict(
        &self,
        model: &Architecture,
        inputs: Inputs<'_>,
    ) -> Result<Bytes, EngineError> {
        let request = PredictRequest {
            model: Some(model.into()),
            parameters_digest: inputs.parameters.body.digest.clone(),
            features_digest: inputs.examples.body.digest.clone(),
        };
        for _ in 0..ATTEMPTS {
            self.hold(&inputs).await?;
            match self.client.clone().predict(request.clone()).await {
                Err(status) if forgot(&status) => {}
                answer => {
                    let (_, probabilities) = body::receive(answer?.into_inner()).await?;
                    return Ok(probabilities);
                }
            }
        }
        Err(EngineError::Forgetful)
    }

    /// The tokens that go on from a prompt, as they are drawn. The request's model and digest are
    /// filled in here.
    ///
    /// # Errors
    ///
    /// [`EngineError`], at once or in the stream.
    pub async fn generate(
        &self,
        model: &Architecture,
        parameters: &Input<'_>,
        request: GenerateRequest,
    ) -> Result<impl Stream<Item = Result<Vec<u32>, EngineError>> + Send + use<>, EngineError> {
        let request = GenerateRequest {
            model: Some(model.into()),
            parameters_digest: parameters.body.digest.clone(),
            ..request
        };
        for _ in 0..ATTEMPTS {
            self.hold_each(&[parameters]).await?;
            match self.client.clone().generate(request.clone()).await {
                Err(status) if forgot(&status) => {}
                answer => {
                    let replies = answer?.into_inner();
                    return Ok(replies.map(|reply| Ok(reply?.tokens)));
                }
            }
        }
        Err(EngineError::Forgetful)
    }

    /// Has compute-core hold the inputs of a call: loads and sends what it does not hold.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn hold(&self, inputs: &Inputs<'_>) -> Result<(), EngineError> {
        self.hold_each(&[&inputs.parameters, &inputs.examples])
            .await
    }

    async fn hold_each(&self, inputs: &[&Input<'_>]) -> Result<(), EngineError> {
        let mut client = self.client.clone();
        let digests = inputs
            .iter()
            .map(|input| input.body.digest.clone())
            .collect();
        let missing = client
            .has(HasRequest { digests })
            .await?
            .into_inner()
            .missing;
        for input in inputs {
            if missing.contains(&input.body.digest) {
                self.put(input, String::new()).await?;
            }
        }
        Ok(())
    }

    /// Gives compute-core an input without asking whether it holds it: one that is new to everybody,
    /// and of which the body with the digest `supersedes` was the last version. Who asks for it
    /// meanwhile waits for it there.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn bring(&self, input: &Input<'_>, supersedes: &Digest) -> Result<(), EngineError> {
        self.put(input, supersedes.to_string()).await
    }

    async fn put(&self, input: &Input<'_>, supersedes: String) -> Result<(), EngineError> {
        let pieces = (input.load)().await.map_err(EngineError::Load)?;
        let (messages, broken) = pieces.sent(BodyChunk {
            part: Some(body_chunk::Part::Header(input.body.clone())),
            supersedes,
        });
        let put = self.client.clone().put(messages).await;
        match broken.told() {
            Some(error) => Err(EngineError::Load(error)),
            None => Ok(put.map(drop)?),
        }
    }
}

/// What a call on a model works with.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The model's parameters.
    pub parameters: Input<'a>,
    /// The rows.
    pub examples: Input<'a>,
}

fn forgot(status: &Status) -> bool {
    fault::reason(status).as_deref() == Some(fault::BODY_NOT_HELD)
}
