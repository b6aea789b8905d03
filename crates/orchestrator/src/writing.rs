//! A checkpoint on its way to the disk, while the next round trains.
//!
//! The next round starts from parameters that stand in the directory; that they are lost with power
//! until they are on the disk costs no more than making them again, to the same bytes. A round is
//! committed, and told to be, when its checkpoint is written. Rounds are written one after the other.

use std::sync::Arc;
use std::time::Duration;

use artifacts::{BlobStore, Key};
use federation::RunId;
use federation::event::RoundOutcome;
use telemetry::trace::{Span, Traced};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::checkpoint::{self, Manifest};
use crate::problem::Problem;
use crate::retention;
use crate::study::Study;
use crate::trace::attempt;

/// A round whose checkpoint is being written. Dropped, it is not written on.
#[derive(Debug)]
pub struct Writing {
    task: AbortOnDropHandle<Result<bool, Problem>>,
    failed: CancellationToken,
}

impl Writing {
    /// Writes the checkpoint of a round with so many clients, which goes on in `span`.
    pub fn begin(study: &Arc<Study>, manifest: Manifest, cohort: usize, span: Span) -> Self {
        let study = Arc::clone(study);
        let place = span.scope();
        let writing = async move {
            let (run, round) = (manifest.run, manifest.round);
            let Some(outcome) = write(&study, manifest).await? else {
                return Ok(false);
            };
            tell(&study, run, &outcome, cohort, &span);
            // What was needed until now may go.
            drop(span);
            forget_updates(&study, run, round).await;
            retention::after_commit(&study).await;
            Ok(true)
        };
        Self::of(writing.in_scope(place))
    }

    /// Writes the checkpoint of the initial model, of which no row tells.
    pub fn begin_initial(study: &Arc<Study>, manifest: Manifest) -> Self {
        let study = Arc::clone(study);
        let span = telemetry::span!("checkpoint", "round" = manifest.round);
        Self::of(async move {
            let committing = Box::pin(checkpoint::commit(&study.blobs, manifest));
            attempt(&span, committing).await?;
            Ok(true)
        })
    }

    fn of(writing: impl Future<Output = Result<bool, Problem>> + Send + 'static) -> Self {
        let failed = CancellationToken::new();
        let telling = failed.clone();
        let told = async move {
            let written = writing.await;
            if !matches!(written, Ok(true)) {
                telling.cancel();
            }
            written
        };
        Self {
            task: AbortOnDropHandle::new(tokio::spawn(told)),
            failed,
        }
    }

    /// Is cancelled when it is known that the round will not be committed.
    #[must_use]
    pub fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// Returns when it has come to its end: whether the round is committed. It is not, when a person
    /// paused or ended the run in the meantime.
    ///
    /// # Errors
    ///
    /// [`Problem`]; then the run is to be admitted again, which finds what was written.
    pub async fn ended(&mut self) -> Result<bool, Problem> {
        let ended = (&mut self.task).await;
        ended.map_err(Problem::fatal("checkpoint"))?
    }
}

/// Makes the round durable: its model, its manifest, the pointer, its row. Says what it achieved, if
/// the row takes it.
async fn write(study: &Study, manifest: Manifest) -> Result<Option<RoundOutcome>, Problem> {
    let span = telemetry::span!("checkpoint", "round" = manifest.round);
    let metrics = &study.metrics.rounds;
    let phase = metrics.seconds.of("committing").start();
    let writing = async {
        let timer = metrics.checkpoint_seconds.start();
        let run = manifest.run;
        let manifest = Box::pin(checkpoint::commit(&study.blobs, manifest)).await?;
        timer.stop();
        let Some(outcome) = manifest.outcome else {
            return Ok(None);
        };
        let stands = study.store.commit_round(run, &outcome, study.now()).await?;
        Ok::<_, Problem>(stands.then_some(outcome))
    };
    let written = attempt(&span, writing).await?;
    phase.stop();
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
        let keys = study.blobs.list(&Key::round_prefix(run, forgotten)).await?;
        study.blobs.delete_all(&keys).await
    };
    if let Err(error) = forgotten.await {
        // They take up room and do no other harm until somebody collects garbage.
        warn!(%run, round, error = %error, "old updates were not deleted");
    }
}
