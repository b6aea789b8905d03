//! From a draft to a stored run.

mod engines;

use federation::job::{InvalidJob, JobDraft, JobSpec, ModelSource, Violation};
use federation::model::Architecture;
use federation::{Digest, RunId};
use telemetry::trace::{TraceContext, current_context};
use thiserror::Error;

use crate::datasets::Manifest;
use crate::retention::{NoRoom, require_room};
use crate::store::{NewRun, RunRow, Store, StoreError, Submission};
use crate::study::Study;
use crate::trace::attempt;
use engines::{check_kernels, check_memory};

/// Most characters of an idempotency key.
const KEY_MAX: usize = 200;

/// Why a job was not taken. Nothing was changed then.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The job says something impossible.
    #[error(transparent)]
    Invalid(#[from] InvalidJob),
    /// The key is empty or too long.
    #[error("idempotency key has {length} characters; must have 1 to {KEY_MAX}")]
    Key {
        /// Its length.
        length: usize,
    },
    /// The key stands for another job.
    #[error(
        "idempotency key {key:?} belongs to run {run}, whose job is another one; choose a new key"
    )]
    KeyTaken {
        /// The key.
        key: String,
        /// Its run.
        run: RunId,
    },
    /// The run cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it would make has no room.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// A job that can run here.
#[derive(Debug)]
pub struct Admissible {
    /// The job.
    pub spec: JobSpec,
    /// The model's shape on its data set.
    pub architecture: Architecture,
    /// Of the data set as it is now.
    pub dataset_digest: Digest,
    /// The job with the version of its published model written out, which the run stays with.
    pub pinned: JobDraft,
}

/// Checks a job against what there is.
///
/// # Errors
///
/// [`SubmitError::Invalid`] names each field that is wrong.
pub async fn check(study: &Study, spec: JobSpec) -> Result<Admissible, SubmitError> {
    let store = &study.store;
    let Some(dataset) = store.dataset(&spec.dataset).await? else {
        let known: Vec<_> = store
            .datasets("", 20)
            .await?
            .into_iter()
            .map(|row| row.manifest.name)
            .collect();
        let hint = if known.is_empty() {
            "there are none yet; import one with `pangea dataset import`".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        let message = format!("{:?} does not exist; {hint}", spec.dataset);
        return Err(wrong("dataset.name", message));
    };
    if let Some(class) = spec.kernel_class {
        check_kernels(&study.engine, class).await?;
    }
    let mut pinned = spec.draft().clone();
    let architecture = match spec.check_against(dataset.manifest.facts())? {
        Some(architecture) => architecture,
        None => published(store, &mut pinned.model, &dataset.manifest).await?,
    };
    check_memory(study, &spec, &architecture, dataset.manifest.train.rows).await?;
    Ok(Admissible {
        spec,
        architecture,
        dataset_digest: dataset.digest,
        pinned,
    })
}

/// The shape of the published model that a job starts from; its version is written into `source`.
async fn published(
    store: &Store,
    source: &mut ModelSource,
    dataset: &Manifest,
) -> Result<Architecture, SubmitError> {
    let ModelSource::Published { name, version } = source else {
        return Err(wrong("model", "has no shape of its own".to_owned()));
    };
    let Some(model) = store.model(name, *version).await? else {
        let which = version.map_or_else(String::new, |version| format!("@{version}"));
        let message = format!("{name}{which} is not published; `pangea models` lists what is");
        return Err(wrong("model.name", message));
    };
    *version = Some(model.version);
    if let (Some(own), Some(given)) = (model.manifest.vocabulary(), dataset.vocabulary())
        && own != given
    {
        let (own, given) = (own.as_text(), given.as_text());
        let message = format!(
            "{name}@{} and data set {:?} are not of the same characters: the model alone knows {:?}, the data set alone has {:?}",
            model.version,
            dataset.name,
            without(&own, &given),
            without(&given, &own),
        );
        return Err(wrong("model", message));
    }
    let architecture = model.manifest.architecture;
    let facts = dataset.facts();
    facts.check(&architecture).map_err(|error| {
        let version = model.version;
        wrong(
            "model",
            format!("{name}@{version} does not fit {facts}: {error}"),
        )
    })?;
    Ok(architecture)
}

/// The characters of `text` that are not in `other`.
fn without(text: &str, other: &str) -> String {
    let missing = text.chars().filter(|own| !other.contains(*own));
    missing.collect()
}

/// Stores a run of the job, once for each key. Says whether it was there before.
///
/// # Errors
///
/// [`SubmitError`].
pub async fn submit(
    study: &Study,
    draft: JobDraft,
    key: String,
) -> Result<(RunRow, bool), SubmitError> {
    let tracer = &study.telemetry.tracer;
    let span = tracer.resume("submit", current_context().as_ref());
    let submitting = submit_from(study, draft, key, span.context());
    let (row, existed) = attempt(&span, submitting).await?;
    if span.is_kept() {
        span.set("run", row.run.to_string());
        span.set("existed", existed);
    }
    Ok((row, existed))
}

async fn submit_from(
    study: &Study,
    draft: JobDraft,
    key: String,
    trace: Option<TraceContext>,
) -> Result<(RunRow, bool), SubmitError> {
    let length = key.chars().count();
    if length == 0 || length > KEY_MAX {
        return Err(SubmitError::Key { length });
    }
    let spec = JobSpec::try_from(draft)?;
    // Before anything else: what has become of the data set since does not matter to a repeat.
    if let Some(row) = study.store.run_of_key(&key).await? {
        return existing(row, &spec, key);
    }
    let Admissible {
        spec,
        dataset_digest,
        pinned,
        ..
    } = check(study, spec).await?;
    let new = NewRun {
        run: study.new_run_id(&key),
        idempotency_key: key.clone(),
        job: pinned,
        job_digest: spec.digest(),
        dataset_digest,
        trace,
    };
    require_room(study).await?;
    match study.store.submit(&new, study.now()).await? {
        Submission::Started(row) => Ok((row, false)),
        Submission::Existed(row) => existing(row, &spec, key),
    }
}

fn existing(row: RunRow, spec: &JobSpec, key: String) -> Result<(RunRow, bool), SubmitError> {
    if row.job_digest == spec.digest() {
        return Ok((row, true));
    }
    Err(SubmitError::KeyTaken { key, run: row.run })
}

fn wrong(field: &str, message: String) -> SubmitError {
    let violation = Violation {
        field: field.to_owned(),
        message,
    };
    InvalidJob {
        violations: vec![violation],
    }
    .into()
}
