//! From a stored run to one that can be worked on: its data dealt, its last model at hand.
//!
//! Idempotent: after a restart the same call finds what the first one made.

use std::collections::BTreeSet;
use std::sync::Arc;

use artifacts::{BlobRef, Key, Kind, fetch};
use federation::RunId;
use federation::job::{JobSpec, ModelSource};
use federation::model::Architecture;
use federation::round::{Effect, Phase, Plan, Round};
use federation::seed;
use federation::stop::RoundMetrics;

use task_queue::TaskQueue;
use telemetry::trace::Span;

use crate::checkpoint::{self, Manifest, ModelFile, UpdateEntry};
use crate::datasets::{self, ExamplesRef, shards};
use crate::evaluate::Evaluator;
use crate::metrics::rounds::Shown;
use crate::problem::Problem;
use crate::store::{OpenRound, RunRow};
use crate::study::Study;
use crate::writing::{Writing, Written};

/// Rounds read at once.
const PAGE: u32 = 1000;

/// A run in work.
#[derive(Debug)]
pub struct Work {
    /// Which run.
    pub run: RunId,
    /// What to do.
    pub spec: JobSpec,
    /// On which data.
    pub dataset: Arc<datasets::Manifest>,
    /// Each client's rows.
    pub shards: Vec<ExamplesRef>,
    /// The last model that stands, written or not.
    pub checkpoint: Manifest,
    /// Its checkpoint, while it is being written.
    pub writing: Option<Writing>,
    /// Whether a checkpoint could not be written, so that the run is to be admitted again.
    pub is_lost: bool,
    /// Whether the initial checkpoint could not be written, and is to be once more.
    pub is_unwritten: bool,
    /// The metrics of each round whose model stands, where a stop rule looks at them.
    pub history: Vec<RoundMetrics>,
    /// The round that has not ended.
    pub round: Option<Round>,
    /// Where the round's small updates go, once there is one.
    pub bundle: Option<Key>,
    /// Whether receipts may be stored that the round does not know of: the store did not say
    /// whether it kept one.
    pub is_behind: bool,
    /// The model of the closed round, until it is committed.
    pub folded: Option<ModelFile>,
    /// The round of which the store knows that no report counts in it any more, if that is the open one.
    pub closed: Option<u32>,
    /// Work that must be queued, each in this attempt.
    pub to_dispatch: Vec<(federation::ClientId, u32)>,
    /// How often the queue had lost its tasks when they were last sent.
    pub losses: u64,
    /// The span of tasks that the queue has no room for, and their round.
    pub dispatching: Option<(u32, Span)>,
    /// Where the open round is in the run's trace; nothing between rounds.
    pub span: Span,
    /// What is shown of the run, in work and a little longer.
    pub shown: Shown,
}

/// Finds or makes all that work on the run needs.
///
/// # Errors
///
/// [`Problem`].
pub async fn admit(study: &Arc<Study>, row: &RunRow) -> Result<Work, Problem> {
    let spec = JobSpec::try_from(row.job.clone()).map_err(Problem::fatal("job"))?;
    let dataset = dataset(study, row).await?;
    let shards = shards_of(study, row, &spec, &dataset).await?;
    let (checkpoint, is_new) = match last_checkpoint(study, row).await? {
        Some(checkpoint) => (checkpoint, false),
        None => (initial(study, row, &spec, &dataset).await?, true),
    };
    checkpoint::verify(&study.blobs, &checkpoint.model).await?;
    study
        .store
        .forget_rounds(row.run, checkpoint.round + 1)
        .await?;
    let mut work = Work {
        run: row.run,
        history: match spec.stop.looks_at_metrics() {
            true => history(study, row.run).await?,
            false => Vec::new(),
        },
        spec,
        dataset: Arc::new(dataset),
        shards,
        writing: is_new.then(|| Writing::begin_initial(study, checkpoint.clone())),
        checkpoint,
        is_lost: false,
        is_unwritten: false,
        round: None,
        folded: None,
        closed: None,
        to_dispatch: Vec::new(),
        losses: study.queue.losses(),
        bundle: None,
        is_behind: false,
        dispatching: None,
        span: Span::none(),
        shown: Shown::new(&study.metrics.rounds, row.run),
    };
    work.show();
    if let Some(open) = study.store.unfinished_round(row.run).await? {
        work.restore(study, open).await?;
    }
    Ok(work)
}

impl Work {
    /// The model's shape.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.checkpoint.architecture
    }

    /// Returns when the checkpoint that is being written is, if there is one: whether all rounds
    /// whose models stand are committed.
    ///
    /// # Errors
    ///
    /// [`Problem`]; then the run is to be admitted again. But a model that cannot be measured now is tried
    /// on and on, and the next call has the initial checkpoint written once more.
    pub async fn written(&mut self, study: &Arc<Study>) -> Result<bool, Problem> {
        if std::mem::take(&mut self.is_unwritten) {
            self.writing = Some(Writing::begin_initial(study, self.checkpoint.clone()));
        }
        let Some(writing) = &mut self.writing else {
            return Ok(!self.is_lost);
        };
        let written = writing.result().await;
        if !matches!(written, Ok(Written::Waiting(_))) {
            self.writing = None;
        }
        match written {
            Ok(Written::Committed(outcome)) => {
                if let Some(outcome) = outcome {
                    self.shown.model(outcome.accuracy, outcome.loss);
                    self.checkpoint.outcome = Some(*outcome);
                }
                Ok(true)
            }
            Ok(Written::Superseded) => {
                self.is_lost = true;
                Ok(false)
            }
            Ok(Written::Waiting(problem)) => Err(problem),
            Err(problem) => {
                match &problem {
                    Problem::Stalled { .. } if self.checkpoint.round == 0 => {
                        self.is_unwritten = true;
                    }
                    _ => self.is_lost = true,
                }
                Err(problem)
            }
        }
    }

    /// Whether it can be heard what became of the checkpoint that was being written.
    #[must_use]
    pub fn has_written(&self) -> bool {
        let ended = |writing: &Writing| writing.ended().is_cancelled();
        self.writing.as_ref().is_some_and(ended)
    }

    /// What its models are measured on.
    #[must_use]
    pub fn evaluator(&self) -> Evaluator {
        Evaluator {
            dataset: Arc::clone(&self.dataset),
            kernel_class: self.spec.kernel_class,
        }
    }

    /// Shows where the run is.
    fn show(&mut self) {
        self.shown.round(self.checkpoint.round);
        if let Some(outcome) = &self.checkpoint.outcome {
            self.shown.model(outcome.accuracy, outcome.loss);
        }
    }

    async fn restore(&mut self, study: &Study, open: OpenRound) -> Result<(), Problem> {
        let accepted = study.store.accepted(self.run, open.number).await?;
        let received: BTreeSet<_> = accepted.iter().map(|receipt| receipt.client).collect();
        let plan = Plan {
            number: open.number,
            cohort: open.cohort,
            quorum: open.quorum,
            base: open.base,
            update_bytes: self.checkpoint.model.parameters.len,
            opened_at: open.opened_at,
            // The time while nobody was here to take reports does not count.
            deadline: study.steady().after(self.spec.cohort.deadline),
        };
        let closed = open.phase != Phase::Training;
        self.shown.round(plan.number);
        let (round, effect) = Round::restore(plan, &open.attempts, &received, closed);
        self.round = Some(round);
        self.closed = closed.then_some(open.number);
        if let Effect::Dispatch(missing) = effect {
            self.to_dispatch = missing;
        }
        Ok(())
    }
}

/// Each client's rows. Nobody removes them any more once they are dealt to a run that has not ended.
async fn shards_of(
    study: &Study,
    row: &RunRow,
    spec: &JobSpec,
    dataset: &datasets::Manifest,
) -> Result<Vec<ExamplesRef>, Problem> {
    let _dealing = study.keeping.dealing().await;
    let shards = shards::shards(
        &study.store,
        &study.blobs,
        dataset,
        &row.dataset_digest,
        &spec.partition,
    );
    Ok(shards.await?)
}

async fn dataset(study: &Study, row: &RunRow) -> Result<datasets::Manifest, Problem> {
    // By digest, not by name: the name may have gone to other data since.
    let key = Key::content(Kind::Dataset, &row.dataset_digest);
    let missing = || {
        format!(
            "data set manifest {} is not in the store",
            row.dataset_digest
        )
    };
    let len = artifacts::BlobStore::head(&study.blobs, &key).await?;
    let len = len.ok_or_else(|| Problem::Fatal { message: missing() })?;
    let blob = BlobRef {
        key,
        offset: 0,
        len,
        digest: row.dataset_digest,
    };
    let json = fetch(&study.blobs, &blob).await?;
    serde_json::from_slice(&json).map_err(Problem::fatal("data set manifest"))
}

/// The newest committed checkpoint. If the process died between the manifest and the row that
/// tells of it, the row is written now; where the power took more than that, the round before it is the
/// newest.
async fn last_checkpoint(study: &Study, row: &RunRow) -> Result<Option<Manifest>, Problem> {
    let next = row.rounds_committed + 1;
    if let Some(manifest) = checkpoint::manifest(&study.blobs, row.run, next).await?
        && stands(study, &manifest).await?
    {
        return Ok(Some(manifest));
    }
    let last = checkpoint::manifest(&study.blobs, row.run, row.rounds_committed).await?;
    if last.is_none() && row.rounds_committed > 0 {
        let key = Key::checkpoint_manifest(row.run, row.rounds_committed);
        let message = format!("checkpoint manifest {key} is not in the store");
        return Err(Problem::Fatal { message });
    }
    Ok(last)
}

/// Whether the round of a manifest is committed, after a look at what the store counts: an attempt at the
/// round that was given up may have left a manifest of other updates.
async fn stands(study: &Study, manifest: &Manifest) -> Result<bool, Problem> {
    let Some(outcome) = &manifest.outcome else {
        return Ok(true);
    };
    let counted = study.store.accepted(manifest.run, manifest.round).await?;
    if !counted
        .iter()
        .map(UpdateEntry::of)
        .eq(manifest.updates.iter().cloned())
    {
        return Ok(false);
    }
    let now = study.now();
    Ok(study.store.commit_round(manifest.run, outcome, now).await?)
}

/// The model that the first round starts from; its checkpoint is not written yet.
async fn initial(
    study: &Study,
    row: &RunRow,
    spec: &JobSpec,
    dataset: &datasets::Manifest,
) -> Result<Manifest, Problem> {
    let facts = dataset.facts();
    let fresh = spec.check_against(facts).map_err(Problem::fatal("job"))?;
    let (architecture, parameters, parent) = match (&spec.model, fresh) {
        (_, Some(architecture)) => {
            let seed = seed::derive(spec.seed, "init", &[]);
            let (_, parameters) = study.engine.init(&architecture, seed).await?;
            (architecture, parameters, None)
        }
        (ModelSource::Published { name, version }, None) => {
            let model = study.store.model(name, *version).await?;
            let model = model.ok_or_else(|| Problem::Fatal {
                message: format!("model {name} is not published any more"),
            })?;
            let parameters = fetch(&study.blobs, &model.manifest.model.parameters).await?;
            let parent = Some(model.manifest.model.digest);
            (model.manifest.architecture, parameters, parent)
        }
        (ModelSource::Spec(_), None) => {
            return Err(Problem::Fatal {
                message: "the model has no shape".to_owned(),
            });
        }
    };
    let model = checkpoint::store_initial(study, row.run, &architecture, parameters).await?;
    Ok(Manifest {
        run: row.run,
        round: 0,
        job_digest: row.job_digest,
        dataset_digest: row.dataset_digest,
        architecture,
        model,
        parent,
        updates: Vec::new(),
        kernel_classes: BTreeSet::new(),
        outcome: None,
    })
}

async fn history(study: &Study, run: RunId) -> Result<Vec<RoundMetrics>, Problem> {
    let mut history: Vec<RoundMetrics> = Vec::new();
    loop {
        let after = history.last().map_or(0, |metrics| metrics.round);
        let outcomes = study.store.outcomes(run, after, PAGE).await?;
        let full = outcomes.len() == PAGE as usize;
        history.extend(outcomes.into_iter().map(|outcome| RoundMetrics {
            round: outcome.round,
            loss: outcome.loss,
            accuracy: outcome.accuracy,
        }));
        if !full {
            return Ok(history);
        }
    }
}
