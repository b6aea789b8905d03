//! One training, in its turn.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clock::Clock;
use federation::local::LocalTraining;
use federation::model::{Architecture, Loss};
use proto::body;
use proto::v1::{
    PlanRequest, PlanResponse, TrainProgress, TrainQueued, TrainReply, TrainRequest, TrainResult,
    train_reply,
};
use seams::Seam;
use telemetry::span;
use telemetry::trace::Span;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::debug;

use super::bodies::{self, Labelled, Parameters};
use super::effort::Effort;
use super::{Service, fault};
use crate::engine::{Kernels, Progress, Trainer, Watch};
use crate::steps::{COMPONENT, StepSpans, num_spans};

/// Progress messages of one training, however many steps it has, unless they take long.
const PROGRESS_MESSAGES: u64 = 20;

/// The longest that a training says nothing while it waits for its turn or takes steps. Who hears
/// nothing for much longer takes it for stuck.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// Where replies go.
pub(super) type Replies = mpsc::Sender<Result<TrainReply, Status>>;

/// All that a training is done with.
pub(super) struct Training {
    pub(super) model: Architecture,
    pub(super) local: LocalTraining,
    pub(super) parameters: Parameters,
    pub(super) examples: Labelled,
    pub(super) seed: u64,
    pub(super) threads: NonZeroUsize,
    pub(super) kernels: Kernels,
    /// Whom it is for, as far as that was said.
    pub(super) client: String,
}

impl Service {
    /// What a training would take.
    pub(super) fn foresee(&self, request: &PlanRequest) -> Result<PlanResponse, Status> {
        let timer = self.metrics.processing.of("plan").start();
        let model = fault::architecture(request.model.as_ref())?;
        let local = fault::local(request.local.as_ref())?;
        let rows = usize::try_from(request.rows).unwrap_or(usize::MAX);
        let training_bytes = Trainer::num_bytes(&model, &local, rows).map_err(fault::plan)?;
        timer.stop();
        Ok(PlanResponse {
            training_bytes,
            parameters_bytes: (model.num_parameters() * size_of::<f32>()) as u64,
            memory_bytes: self.memory_bytes,
        })
    }

    /// A training of what is held. Parameters that somebody brings just now are waited for.
    pub(super) async fn prepare_training(&self, request: TrainRequest) -> Result<Training, Status> {
        let model = fault::architecture(request.model.as_ref())?;
        let local = fault::local(request.local.as_ref())?;
        let parameters = std::slice::from_ref(&request.parameters_digest);
        self.settle("parameters_digest", parameters).await?;
        let both = (&*request.parameters_digest, &*request.examples_digest);
        let (parameters, examples) = bodies::labelled(&self.cache, both, &model)?;
        Ok(Training {
            model,
            local,
            parameters,
            examples,
            seed: request.seed,
            threads: self.threads,
            kernels: fault::kernels(&request.kernel_class)?,
            client: request.client,
        })
    }

    /// Trains when its turn has come, unless the caller has left by then.
    pub(super) async fn train_in_turn(&self, training: Training, replies: Replies) {
        let turn = tokio::select! {
            biased;
            () = replies.closed() => return,
            turn = self.turn() => turn,
            () = say_queued(&*self.clock, &replies) => return,
        };
        let Ok(_turn) = turn else {
            return;
        };
        let _passage = self
            .seams
            .pass(Seam::Service, "train", &training.seed)
            .await;
        let timer = self.metrics.processing.of("train").start();
        let read = training.num_bytes();
        let span = span_of(&training);
        let progress = replies.clone();
        let effort = training.effort();
        let trained = effort.spend(&span, move || training.run(&progress)).await;
        let _passage = self.seams.pass(Seam::Service, "answer", &()).await;
        tell(&span, &trained);
        drop(span);
        match self.metrics.counted(trained) {
            Ok((result, delta)) => {
                timer.stop();
                self.metrics.steps.inc_by(u64::from(result.num_steps));
                self.count_bytes("train", read + delta.len());
                send_result(&replies, result, delta).await;
            }
            Err(status) => {
                debug!(error = status.message(), "training ended without a delta");
                // The caller may be gone; then nobody is left to tell.
                drop(replies.send(Err(status)).await);
            }
        }
    }
}

impl Training {
    /// Trains until done, or until nobody listens any more.
    fn run(self, replies: &Replies) -> Result<(TrainResult, Bytes), Status> {
        let rows = self.examples.rows()?;
        let examples = rows.examples(&self.model)?;
        let base = self.parameters.numbers();
        let mut parameters = base.to_vec();
        let mut trainer = Trainer::new(&self.model, &self.local, examples.rows(), self.threads)
            .map_err(fault::plan)?;
        let mut onlooker = Onlooker {
            replies,
            spans: StepSpans::new(&self.client),
            has_labels: self.has_labels(),
            started: now(),
            said: now(),
        };
        let report = self
            .kernels
            .run(|| trainer.train(&mut parameters, &examples, self.seed, &mut onlooker))
            .map_err(fault::train)?;
        let seconds = onlooker.seconds();
        for (after, before) in parameters.iter_mut().zip(base.iter()) {
            *after -= before;
        }
        let delta = body::into_bytes(parameters);
        let result = TrainResult {
            num_examples: report.num_examples,
            num_steps: u32::try_from(report.num_steps).unwrap_or(u32::MAX),
            num_epochs: u32::try_from(report.num_epochs).unwrap_or(u32::MAX),
            mean_loss: report.last_epoch_loss,
            accuracy: self.has_labels().then_some(report.last_epoch_accuracy),
            seconds,
            kernel_class: self.kernels.class().to_string(),
            delta: Some(body::parameters_header(&self.model, &delta)),
        };
        Ok((result, delta))
    }

    fn has_labels(&self) -> bool {
        self.model.loss() != Loss::Regression
    }

    fn effort(&self) -> Effort {
        let read = (self.examples.num_rows(), self.num_bytes());
        Effort::of_training(&self.model, &self.local, read)
    }

    /// Bytes that it reads.
    fn num_bytes(&self) -> usize {
        self.parameters.num_bytes() + self.examples.num_bytes()
    }
}

/// The span of the computation itself, without the wait before it and the replies after it.
fn span_of(training: &Training) -> Span {
    let span = span!(
        "training",
        "component" = COMPONENT,
        "batch_size" = training.local.batch_size
    );
    if span.is_kept() && !training.client.is_empty() {
        span.set("agent_id", training.client.clone());
    }
    span
}

/// Says in `span` what a training came to, and how many of its steps have a span.
fn tell(span: &Span, trained: &Result<(TrainResult, Bytes), Status>) {
    match trained {
        Ok((result, _)) if span.is_kept() => {
            let num_steps = u64::from(result.num_steps);
            span.set("loss", result.mean_loss);
            if let Some(accuracy) = result.accuracy {
                span.set("accuracy", accuracy);
            }
            span.set("num_examples", result.num_examples);
            span.set("num_steps", num_steps);
            span.set("num_step_spans", num_spans(num_steps));
        }
        Ok(_) => {}
        Err(status) => span.fail(status.message()),
    }
}

/// Tells the caller how far a training is, as long as it has a caller.
struct Onlooker<'a> {
    replies: &'a Replies,
    spans: StepSpans,
    has_labels: bool,
    started: Instant,
    said: Instant,
}

impl Onlooker<'_> {
    fn seconds(&self) -> f64 {
        now().saturating_duration_since(self.started).as_secs_f64()
    }

    fn told(&self, progress: Progress) -> TrainProgress {
        TrainProgress {
            step: u32::try_from(progress.step).unwrap_or(u32::MAX),
            steps_total: u32::try_from(progress.steps_total).unwrap_or(u32::MAX),
            loss: narrow(progress.loss),
            accuracy: self.has_labels.then_some(narrow(progress.accuracy)),
            seconds: self.seconds(),
        }
    }
}

impl Watch for Onlooker<'_> {
    fn begin_step(&mut self, step: u64, steps_total: u64) {
        self.spans.begin_step(step, steps_total);
    }

    fn begin_backward(&mut self) {
        self.spans.begin_backward();
    }

    fn end_step(&mut self, progress: Progress) -> ControlFlow<()> {
        self.spans.end_step(progress)?;
        if self.replies.is_closed() {
            return ControlFlow::Break(());
        }
        let every = progress.steps_total.div_ceil(PROGRESS_MESSAGES).max(1);
        if progress.step.is_multiple_of(every) || self.said.elapsed() >= SAY_EVERY {
            self.said = now();
            let part = train_reply::Part::Progress(self.told(progress));
            // A caller that reads slowly misses some progress and nothing else.
            drop(self.replies.try_send(Ok(TrainReply { part: Some(part) })));
        }
        ControlFlow::Continue(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it is shown, not computed with"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is of real time, whatever time a simulation has"
)]
fn now() -> Instant {
    Instant::now()
}

/// Says that a training waits for its turn, for as long as it is polled.
async fn say_queued(clock: &dyn Clock, replies: &Replies) {
    loop {
        clock.sleep(SAY_EVERY).await;
        let part = Some(train_reply::Part::Queued(TrainQueued {}));
        // A caller that reads slowly has enough to read.
        drop(replies.try_send(Ok(TrainReply { part })));
    }
}

/// Sends what a training came to.
async fn send_result(replies: &Replies, result: TrainResult, delta: Bytes) {
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
