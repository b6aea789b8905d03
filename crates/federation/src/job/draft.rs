//! The file format: what a user writes, with its defaults. Also the stored form.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scalars::{count, maybe_count, number, span};
use super::{ModelSource, PartitionDraft, Strategy};
use crate::KernelClass;
use crate::local::{LocalTraining, Optimizer, Schedule};
use crate::stop::Target;

/// A job as written. Any value is possible; [`JobSpec`](super::JobSpec) says which are accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with the keys of a job, such as `name`"
)]
pub struct JobDraft {
    /// What people call it: 1 to 63 of `a-z 0-9 . _ -`, beginning with a letter or digit.
    pub name: String,
    /// What is trained.
    pub model: ModelSource,
    /// What it is trained on.
    pub dataset: DatasetDraft,
    /// What a client does in a round.
    pub local: LocalDraft,
    /// How updates become the next model; `FedAvg` weighted by examples when left out.
    #[serde(default)]
    pub strategy: Strategy,
    /// At most how many rounds, 1 to 100,000.
    #[serde(deserialize_with = "count")]
    pub rounds: u32,
    /// Who takes part in a round, and for how long it waits.
    #[serde(default)]
    pub cohort: CohortDraft,
    /// What ends the run before its last round.
    #[serde(default, skip_serializing_if = "StopDraft::is_empty")]
    pub stop: StopDraft,
    /// The root of all chance in the run.
    #[serde(default, deserialize_with = "count")]
    pub seed: u64,
    /// The only class of kernels that it is computed with, on whatever processors can; on each
    /// processor its own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_class: Option<KernelClass>,
    /// The name under which the final model is published; a name like the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_as: Option<String>,
}

/// Which data, and how its training rows are dealt to clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with the keys `name` and `partition`"
)]
pub struct DatasetDraft {
    /// The name under which the data set was registered.
    pub name: String,
    /// Who gets which rows.
    pub partition: PartitionDraft,
}

/// What a client does in a round. Names exactly one of `epochs` and `steps`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with the keys of local training, such as `epochs`"
)]
pub struct LocalDraft {
    /// Passes over the client's rows, 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    pub epochs: Option<u32>,
    /// Batches, 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    pub steps: Option<u32>,
    /// Rows per batch, 1 to 65,536.
    #[serde(default = "default_batch_size", deserialize_with = "count")]
    pub batch_size: u32,
    /// How gradients change the parameters.
    pub optimizer: Optimizer,
    /// How the learning rate changes over the steps of a round; not at all when left out.
    #[serde(default, skip_serializing_if = "is_constant")]
    pub schedule: Schedule,
    /// The longest that a step's gradient may be; any length when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f32>,
}

/// Left out, so that jobs without a schedule keep their digests.
fn is_constant(schedule: &Schedule) -> bool {
    *schedule == Schedule::Constant
}

fn default_batch_size() -> u32 {
    LocalTraining::BATCH_SIZE
}

/// Who takes part in a round, and for how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a map with the keys of a cohort, such as `fraction`"
)]
pub struct CohortDraft {
    /// The part of all clients that a round asks, above 0 and at most 1.
    #[serde(deserialize_with = "number")]
    pub fraction: f64,
    /// A round asks at least this many; at most the number of clients.
    #[serde(deserialize_with = "count")]
    pub min_clients: u32,
    /// The part of the cohort that must report before the round may close, above 0 and at most 1.
    #[serde(deserialize_with = "number")]
    pub quorum: f64,
    /// How long a round waits for reports, as in `90s` or `2m`: 1 second to 7 days.
    #[serde(with = "span")]
    pub deadline: Duration,
}

impl Default for CohortDraft {
    fn default() -> Self {
        Self {
            fraction: 1.0,
            min_clients: 1,
            quorum: 1.0,
            deadline: Duration::from_secs(600),
        }
    }
}

/// What ends a run before its last round. Empty by default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with the keys `target` and `patience`"
)]
pub struct StopDraft {
    /// The model is good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// So many evaluated rounds without a lower loss, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    pub patience: Option<u32>,
}

impl StopDraft {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
