//! A model on its way to its figures and its checkpoint to the disk, while the next round trains.
//!
//! The next round starts from parameters that stand in the directory; that they are lost with power
//! until they are on the disk costs no more than making them again, to the same bytes. A round is
//! committed, and told to be, when its checkpoint is written. Rounds are written one after the other.

use std::sync::Arc;
use std::time::Duration;

use artifacts::{BlobStore, Key};
use federation::event::RoundOutcome;
use federation::{Digest, RunId};
use proto::v1::EvaluateResponse;
use telemetry::trace::{Span, Traced};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::checkpoint::{self, Manifest};
use crate::evaluate::{Evaluator, bring};
use crate::problem::{Problem, STALL_FIRST, STALL_LONGEST};
use crate::retention;
use crate::study::Study;
use crate::trace::attempt;

/// The model of a round that has closed, and what is known of the round but how good the model is.
#[derive(Debug)]
pub struct Standing {
    /// The model, without an outcome.
    pub manifest: Manifest,
    /// The parameters of the model before it.
    pub before: Digest,
    /// How many clients were asked.
    pub cohort: usize,
    /// Updates that count.
    pub accepted: u32,
    /// Updates that do not.
    pub refused: u32,
    /// Loss terms behind the accepted updates.
    pub num_examples: u64,
    /// Their mean.
    pub train_loss: f64,
    /// Bytes of the accepted updates.
    pub update_bytes: u64,
    /// From the opening of the round to its model, before that is measured.
    pub duration_ms: u64,
}

impl Standing {
    /// What the round achieved with a model that is as good as this.
    ///
    /// # Errors
    ///
    /// [`Problem::Fatal`] when the loss is not finite.
    pub fn outcome(&self, evaluation: &EvaluateResponse) -> Result<RoundOutcome, Problem> {
        let round = self.manifest.round;
        if !evaluation.loss.is_finite() {
            let message = format!("round {round}: the loss on the test rows is not finite");
            return Err(Problem::Fatal { message });
        }
        Ok(RoundOutcome {
            round,
            accepted: self.accepted,
            refused: self.refused,
            num_examples: self.num_examples,
            accuracy: evaluation.accuracy,
            loss: evaluation.loss,
            train_loss: self.train_loss,
            update_bytes: self.update_bytes,
            model_digest: self.manifest.model.digest,
            duration_ms: self.duration_ms,
        })
    }
}

/// What became of a checkpoint.
#[derive(Debug)]
pub enum Written {
    /// It is committed; the initial one has no outcome.
    Committed(Option<Box<RoundOutcome>>),
    /// A person paused or ended the run in the meantime.
    Superseded,
    /// Its model cannot be measured now, which is tried on and on.
    Waiting(Problem),
}

/// Who is not there to measure a model, and what is said of that.
type Trouble = Option<(&'static str, String)>;

/// A round whose model is being measured, if it was not, and whose checkpoint is being written.
/// Dropped, it is not written on.
#[derive(Debug)]
pub struct Writing {
    task: AbortOnDropHandle<Result<Written, Problem>>,
    ended: CancellationToken,
    trouble: watch::Receiver<Trouble>,
}

impl Writing {
    /// Has the model of a round measured, unless its `outcome` is known, and writes its checkpoint;
    /// the round goes on in `span`.
    pub fn begin(
        study: &Arc<Study>,
        evaluator: Evaluator,
        standing: Standing,
        outcome: Option<RoundOutcome>,
        span: Span,
    ) -> Self {
        let (study, place) = (Arc::clone(study), span.scope());
        Self::of(|trouble| {
            let writing = async move {
                let measuring = async {
                    match outcome {
                        Some(outcome) => Ok(outcome),
                        None => measure(&study, &evaluator, &standing, &trouble).await,
                    }
                };
                // The disk is as slow for a model that is measured.
                let settling = timed(&study, settle(&study, &standing.manifest));
                let (outcome, (settled, settling)) = tokio::join!(measuring, settling);
                let outcome = outcome.inspect_err(|problem| span.fail(problem))?;
                settled.inspect_err(|problem| span.fail(problem))?;
                commit(&study, standing, outcome, settling, span).await
            };
            writing.in_scope(place)
        })
    }

    /// Writes the checkpoint of the initial model, of which no row tells.
    pub fn begin_initial(study: &Arc<Study>, manifest: Manifest) -> Self {
        let study = Arc::clone(study);
        let span = telemetry::span!("checkpoint", "round" = manifest.round);
        Self::of(|_trouble| async move {
            let committing = async {
                settle(&study, &manifest).await?;
                Ok::<_, Problem>(checkpoint::commit(&study.blobs, manifest).await?)
            };
            attempt(&span, Box::pin(committing)).await?;
            Ok(Written::Committed(None))
        })
    }

    fn of<W>(writing: impl FnOnce(watch::Sender<Trouble>) -> W) -> Self
    where
        W: Future<Output = Result<Written, Problem>> + Send + 'static,
    {
        let (troubled, trouble) = watch::channel(None);
        let writing = writing(troubled);
        let ended = CancellationToken::new();
        let telling = ended.clone();
        let told = async move {
            let _told = telling.drop_guard();
            writing.await
        };
        Self {
            task: AbortOnDropHandle::new(tokio::spawn(told)),
            ended,
            trouble,
        }
    }

    /// Is cancelled when it is known what became of it.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Returns when it has come to its end, or cannot go on just now.
    ///
    /// # Errors
    ///
    /// [`Problem`]; then the run is to be admitted again, which finds what was written.
    pub async fn result(&mut self) -> Result<Written, Problem> {
        let mut trouble = self.trouble.clone();
        let troubled = async move {
            let trouble = trouble.wait_for(Option::is_some).await;
            trouble.map_or(None, |trouble| trouble.clone())
        };
        tokio::select! {
            biased;
            ended = &mut self.task => ended.map_err(Problem::fatal("the last round"))?,
            Some((waiting_for, message)) = troubled => {
                Ok(Written::Waiting(Problem::Stalled { waiting_for, message }))
            }
        }
    }
}

/// Measures a model, however long it takes until somebody is there to do it.
async fn measure(
    study: &Study,
    evaluator: &Evaluator,
    standing: &Standing,
    trouble: &watch::Sender<Trouble>,
) -> Result<RoundOutcome, Problem> {
    let manifest = &standing.manifest;
    // The next round's trainings are about to ask for it; whether it could be brought shows below.
    drop(bring(study, manifest, &standing.before).await);
    let (mut pause, mut tries) = (STALL_FIRST, 0_u32);
    loop {
        let measuring = evaluator.measure(study, manifest);
        // Of the tries the first ones, and then ever fewer, are kept in the trace.
        let measured = match tries == 0 || tries.is_power_of_two() {
            true => measuring.await,
            false => {
                let aside = study.telemetry.tracer.aside("evaluate", None);
                measuring.in_scope(Some(aside)).await
            }
        };
        let (waiting_for, message) = match measured.map_err(Problem::from) {
            Ok(evaluation) => {
                trouble.send_replace(None);
                return standing.outcome(&evaluation);
            }
            Err(Problem::Stalled {
                waiting_for,
                message,
            }) => (waiting_for, message),
            Err(fatal) => return Err(fatal),
        };
        if tries == 0 {
            let Manifest { run, round, .. } = manifest;
            warn!(%run, round, waiting_for, message, "the model is not measured yet");
        }
        trouble.send_replace(Some((waiting_for, message)));
        study.clock.sleep(pause).await;
        pause = (pause * 2).min(STALL_LONGEST);
        tries = tries.saturating_add(1);
    }
}

/// Returns when the model is kept for good.
async fn settle(study: &Study, manifest: &Manifest) -> Result<(), Problem> {
    Ok(study.blobs.settle(&manifest.model.parameters.key).await?)
}

/// What comes of `work`, and how long that takes.
async fn timed<T>(study: &Study, work: impl Future<Output = T>) -> (T, Duration) {
    let begun = study.clock.elapsed();
    let done = work.await;
    (done, study.clock.elapsed().saturating_sub(begun))
}

/// Has the round, whose model took so long to be settled, committed and told, and what it needed until
/// now deleted.
async fn commit(
    study: &Study,
    standing: Standing,
    outcome: RoundOutcome,
    settling: Duration,
    span: Span,
) -> Result<Written, Problem> {
    let manifest = Manifest {
        outcome: Some(outcome),
        ..standing.manifest
    };
    let (run, round) = (manifest.run, manifest.round);
    let Some(outcome) = write(study, manifest, settling).await? else {
        return Ok(Written::Superseded);
    };
    tell(study, run, &outcome, standing.cohort, &span);
    // What was needed until now may go.
    drop(span);
    forget_updates(study, run, round).await;
    retention::after_commit(study).await;
    Ok(Written::Committed(Some(Box::new(outcome))))
}

/// Makes the round durable whose model is settled: its manifest, its row. Says what it achieved, if the
/// row takes it.
async fn write(
    study: &Study,
    manifest: Manifest,
    settling: Duration,
) -> Result<Option<RoundOutcome>, Problem> {
    let span = telemetry::span!("checkpoint", "round" = manifest.round);
    let metrics = &study.metrics.rounds;
    let writing = async {
        let run = manifest.run;
        let committing = timed(study, checkpoint::commit(&study.blobs, manifest));
        let (manifest, committing) = Box::pin(committing).await;
        let manifest = manifest?;
        metrics
            .checkpoint_seconds
            .observe_duration(settling + committing);
        let Some(outcome) = manifest.outcome else {
            return Ok(None);
        };
        let stands = study.store.commit_round(run, &outcome, study.now()).await?;
        Ok::<_, Problem>(stands.then_some(outcome))
    };
    let (written, writing) = timed(study, attempt(&span, writing)).await;
    let written = written?;
    let phase = metrics.seconds.of("committing");
    phase.observe_duration(settling + writing);
    Ok(written)
}

/// Shows and says that a round is committed.
fn tell(study: &Study, run: RunId, outcome: &RoundOutcome, cohort: usize, span: &Span) {
    study.metrics.rounds.committed(outcome, cohort);
    span.set("outcome", "committed");
    span.set("accepted", outcome.accepted);
    span.set("loss", outcome.loss);
    outcome
        .accuracy
        .inspect(|share| span.set("accuracy", *share));
    info!(
        %run,
        round = outcome.round,
        accuracy = outcome.accuracy,
        loss = outcome.loss,
        accepted = outcome.accepted,
        duration = Duration::from_millis(outcome.duration_ms).as_secs_f64(),
        "round committed"
    );
}

/// Deletes the updates of the round that has now been committed for long enough.
async fn forget_updates(study: &Study, run: RunId, round: u32) {
    let Some(forgotten) = round.checked_sub(study.keep_rounds) else {
        return;
    };
    let forgotten = async {
        let mut keys = study.blobs.list(&Key::round_prefix(run, forgotten)).await?;
        keys.retain(|key| key.round() == Some(forgotten));
        study.blobs.delete_all(&keys).await
    };
    if let Err(error) = forgotten.await {
        // They take up room and do no other harm until somebody collects garbage.
        warn!(%run, round, error = %error, "old updates were not deleted");
    }
}
