//! What happened to a run, one fact at a time, for those who watch it.

use serde::{Deserialize, Serialize};

use crate::acceptance::Refusal;
use crate::run::RunState;
use crate::{ClientId, Digest, WorkerId};

/// One fact about a run. Stored under (run, sequence) and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The run is in another state.
    RunStateChanged {
        /// The new state.
        state: RunState,
        /// Why, for a person.
        reason: String,
    },
    /// A cohort was chosen and its tasks are on their way.
    RoundOpened {
        /// From 1.
        round: u32,
        /// Clients that were asked.
        cohort: u32,
        /// Clients that must report.
        quorum: u32,
    },
    /// An update counts.
    UpdateAccepted {
        /// Its round.
        round: u32,
        /// Whose data.
        client: ClientId,
        /// Who trained.
        worker: WorkerId,
        /// Loss terms behind it.
        num_examples: u64,
        /// Its size.
        bytes: u64,
        /// Mean training loss.
        mean_loss: f64,
    },
    /// An update does not count.
    UpdateRefused {
        /// Its round.
        round: u32,
        /// Whose data.
        client: ClientId,
        /// Who trained.
        worker: WorkerId,
        /// Why.
        refusal: Refusal,
    },
    /// A worker could not do a task.
    TaskFailed {
        /// Its round.
        round: u32,
        /// Whose data.
        client: ClientId,
        /// Who tried.
        worker: WorkerId,
        /// Which attempt.
        attempt: u32,
        /// What happened, for a person.
        message: String,
    },
    /// The round's model stands.
    RoundCommitted(RoundOutcome),
    /// The round ended without a model.
    RoundAbandoned {
        /// From 1.
        round: u32,
        /// Why, for a person.
        reason: String,
    },
    /// The run's model has a name and a version.
    ModelPublished {
        /// The name.
        name: String,
        /// Counts versions of the name, from 1.
        version: u32,
        /// Of the safetensors file.
        digest: Digest,
    },
    /// The run cannot go on now; it is tried again.
    Stalled {
        /// From 1; 0 before the first round.
        round: u32,
        /// Who or what must be there first: `compute-core`, `run store`, `artifacts`, `task queue`.
        waiting_for: String,
        /// What stands in the way.
        message: String,
    },
}

/// What a committed round achieved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundOutcome {
    /// From 1.
    pub round: u32,
    /// Updates that count.
    pub accepted: u32,
    /// Updates that do not.
    pub refused: u32,
    /// Loss terms behind the accepted updates.
    pub num_examples: u64,
    /// On the test rows; none for a regression.
    pub accuracy: Option<f64>,
    /// On the test rows: mean cross-entropy in nats, or mean squared error for a regression.
    pub loss: f64,
    /// Mean over the accepted updates, weighted by examples.
    pub train_loss: f64,
    /// Bytes of all accepted updates.
    pub update_bytes: u64,
    /// Of the checkpoint's safetensors file.
    pub model_digest: Digest,
    /// From opening the round to its model, before that is measured and committed.
    pub duration_ms: u64,
}
