//! What a user asks for: the model, the data, the training and the rules of its rounds.
//!
//! A [`JobDraft`] is the text as written. A [`JobSpec`] is a draft that was checked once, so that
//! the rest of the house trusts it. Every violation is reported, not only the first.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::cohort::CohortSpec;
use crate::local::LocalTraining;
use crate::model::{Architecture, ModelError, ModelSpec};
use crate::partition::{PartitionSpec, Scheme};
use crate::stop::{Metric, StopRule, Target};
use crate::{Digest, KernelClass};

mod draft;
mod limits;
mod model_source;
mod partition_draft;
mod scalars;
mod strategy;
mod validate;
mod violation;

pub use draft::{CohortDraft, DatasetDraft, JobDraft, LocalDraft, StopDraft};
pub use limits::is_name;
pub use model_source::ModelSource;
pub use partition_draft::{PartitionDraft, SchemeDraft};
pub use strategy::{Strategy, Weighting};
pub use violation::{InvalidJob, Violation};

use violation::Violations;

/// A checked job. Made from a [`JobDraft`] and stored as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "JobDraft", into = "JobDraft")]
pub struct JobSpec {
    /// What people call it.
    pub name: String,
    /// What is trained, from scratch or further.
    pub model: ModelSource,
    /// The name of the data set.
    pub dataset: String,
    /// How its training rows are dealt to clients.
    pub partition: PartitionSpec,
    /// What a client does in a round.
    pub local: LocalTraining,
    /// How updates become the next model.
    pub strategy: Strategy,
    /// At most how many rounds.
    pub rounds: NonZeroU32,
    /// Who takes part in a round, and for how long it waits.
    pub cohort: CohortSpec,
    /// What ends the run before its last round.
    pub stop: StopRule,
    /// The root of all chance in the run.
    pub seed: u64,
    /// The only class of kernels that it is computed with, if it is pinned to one.
    pub kernel_class: Option<KernelClass>,
    /// The name under which the final model is published, if it is.
    pub publish_as: Option<String>,
    draft: JobDraft,
}

/// What the orchestrator knows about a data set before it deals its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetFacts {
    /// Rows that are dealt to clients; test rows are not among them.
    pub train_rows: u64,
    /// Numbers in a row.
    pub features: usize,
    /// Different labels.
    pub classes: usize,
    /// Whether rows are tokens of a text, of which there are as many as labels.
    pub is_text: bool,
    /// Whether each row has a number in place of a label.
    pub has_targets: bool,
}

impl DatasetFacts {
    fn shape(self, model: &ModelSpec) -> Result<Architecture, ModelError> {
        let architecture = model.architecture(self.features, self.classes)?;
        self.check(&architecture)?;
        Ok(architecture)
    }

    /// Checks that a model can learn from the rows.
    ///
    /// # Errors
    ///
    /// [`ModelError`] says what the model takes, and what there is.
    pub fn check(self, architecture: &Architecture) -> Result<(), ModelError> {
        architecture.check_widths(self.features, self.classes)?;
        architecture.check_targets(self.has_targets)?;
        if self.is_text {
            architecture.check_tokens(self.classes)?;
        }
        Ok(())
    }
}

impl fmt::Display for DatasetFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            features, classes, ..
        } = self;
        match (self.is_text, self.has_targets) {
            (true, _) => write!(f, "a text of context {features} and {classes} characters"),
            (_, true) => write!(f, "rows of {features} features and a target"),
            _ => write!(f, "rows of {features} features and {classes} classes"),
        }
    }
}

impl JobSpec {
    /// The job as it was written.
    #[must_use]
    pub fn draft(&self) -> &JobDraft {
        &self.draft
    }

    /// The digest of the job's configuration: of its draft as JSON without whitespace, keys in the
    /// order of declaration, defaults written out and absent options left out.
    ///
    /// Equal for two texts that differ only in layout, in the order of keys, or in whether a
    /// default is spelled out.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&canonical_json(&self.draft))
    }

    /// Checks what depends on the data set, and gives the model's shape on it: `None` for a
    /// published model, which brings its own.
    ///
    /// # Errors
    ///
    /// [`InvalidJob`] when clients cannot all have rows, when labels per client do not fit the
    /// classes, when the partition or the stop rule asks for labels and there are none, or when the
    /// model does not fit the rows or would be too large.
    pub fn check_against(&self, facts: DatasetFacts) -> Result<Option<Architecture>, InvalidJob> {
        let mut violations = Violations::default();
        self.check_clients(facts, &mut violations);
        self.check_labels(facts, &mut violations);
        if facts.has_targets {
            self.check_without_labels(&mut violations);
        }
        let architecture = match &self.model {
            ModelSource::Published { .. } => None,
            ModelSource::Spec(model) => match facts.shape(model) {
                Ok(architecture) => Some(architecture),
                Err(error) => {
                    violations.add("model", format!("does not fit {facts}: {error}"));
                    None
                }
            },
        };
        violations.or(architecture)
    }

    fn check_clients(&self, facts: DatasetFacts, violations: &mut Violations) {
        let clients = self.partition.clients;
        if u64::from(clients.get()) > facts.train_rows {
            violations.add(
                "dataset.partition.clients",
                format!(
                    "is {clients}; the data set has only {} training rows, and each client needs one",
                    facts.train_rows
                ),
            );
        }
    }

    fn check_labels(&self, facts: DatasetFacts, violations: &mut Violations) {
        let Scheme::LabelsPerClient { labels } = self.partition.scheme else {
            return;
        };
        if facts.has_targets {
            return;
        }
        let (clients, classes) = (self.partition.clients, facts.classes as u64);
        if u64::from(labels.get()) > classes {
            violations.add(
                "dataset.partition.labels",
                format!("is {labels}; the data set has only {classes} classes"),
            );
        }
        if u64::from(labels.get()) * u64::from(clients.get()) < classes {
            violations.add(
                "dataset.partition.labels",
                format!(
                    "is {labels}; {clients} clients with so few labels cannot hold all {classes} \
                     classes"
                ),
            );
        }
    }
}

impl JobSpec {
    /// What asks for labels where rows have numbers.
    fn check_without_labels(&self, violations: &mut Violations) {
        let kind = match self.partition.scheme {
            Scheme::Dirichlet { .. } => Some("dirichlet"),
            Scheme::LabelsPerClient { .. } => Some("labels_per_client"),
            Scheme::Iid | Scheme::QuantitySkew { .. } => None,
        };
        if let Some(kind) = kind {
            violations.add(
                "dataset.partition.kind",
                format!(
                    "is {kind}, which deals rows by their labels; the data set has targets and no \
                     labels, so it must be iid or quantity_skew"
                ),
            );
        }
        let is_accuracy = |target: Target| target.metric == Metric::Accuracy;
        if self.stop.target.is_some_and(is_accuracy) {
            violations.add(
                "stop.target.metric",
                "is accuracy, which a regression has not; must be loss",
            );
        }
    }
}

impl From<JobSpec> for JobDraft {
    fn from(spec: JobSpec) -> Self {
        spec.draft
    }
}

fn canonical_json(draft: &JobDraft) -> Vec<u8> {
    serde_json::to_vec(draft).expect("a draft has only text keys, which JSON can hold")
}

#[cfg(test)]
mod tests;
