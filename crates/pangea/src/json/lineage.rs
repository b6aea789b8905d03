//! From a model back to the updates in it.

use client::v1;
use serde::Serialize;

use super::run::ModelVersion;

/// The committed rounds of a run, the last first.
#[derive(Debug, Serialize)]
pub(crate) struct Lineage {
    run: String,
    name: String,
    state: &'static str,
    model: Option<ModelVersion>,
    pub(crate) rounds: Vec<LineageRound>,
}

/// A committed round: its model, the one it started from, and what was added.
#[derive(Debug, Serialize)]
pub(crate) struct LineageRound {
    pub(crate) round: u32,
    pub(crate) model_digest: String,
    pub(crate) base_digest: String,
    pub(crate) accuracy: Option<f64>,
    pub(crate) loss: Option<f64>,
    train_loss: Option<f64>,
    /// Of all updates together, as are the weight and the bytes.
    pub(crate) num_examples: u64,
    pub(crate) weight: f64,
    pub(crate) update_bytes: u64,
    pub(crate) updates: Vec<LineageUpdate>,
    pub(crate) refused: Vec<RefusedUpdate>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LineageUpdate {
    pub(crate) client: String,
    pub(crate) worker: String,
    pub(crate) attempt: u32,
    pub(crate) lease_epoch: u32,
    pub(crate) num_examples: u64,
    pub(crate) weight: f64,
    /// Of the round's weight, from 0 to 1.
    pub(crate) share: f64,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct RefusedUpdate {
    pub(crate) client: String,
    pub(crate) worker: String,
    pub(crate) attempt: u32,
    pub(crate) lease_epoch: u32,
    pub(crate) reason: String,
    pub(crate) message: String,
    num_examples: u64,
    bytes: u64,
    digest: String,
}

impl Lineage {
    pub(crate) fn of(run: &v1::Run, rounds: &[v1::Round]) -> Self {
        let committed = rounds.iter().filter(|round| round.phase == "committed");
        Self {
            run: run.run.clone(),
            name: run.name.clone(),
            state: super::state(run.state()),
            model: run.model.as_ref().map(ModelVersion::from),
            rounds: committed.rev().map(LineageRound::from).collect(),
        }
    }
}

impl From<&v1::Round> for LineageRound {
    fn from(round: &v1::Round) -> Self {
        let (accepted, refused): (Vec<_>, Vec<_>) =
            round.updates.iter().partition(|update| update.accepted);
        let weight: f64 = accepted.iter().map(|update| update.weight).sum();
        let counted = |update: &&v1::round::Update| LineageUpdate {
            client: update.client.clone(),
            worker: update.worker.clone(),
            attempt: update.attempt,
            lease_epoch: update.lease_epoch,
            num_examples: update.num_examples,
            weight: update.weight,
            share: update.weight / weight,
            bytes: update.bytes,
            digest: update.digest.clone(),
        };
        Self {
            round: round.round,
            model_digest: round.model_digest.clone(),
            base_digest: round.base_digest.clone(),
            accuracy: round.accuracy,
            loss: round.loss,
            train_loss: round.train_loss,
            num_examples: accepted.iter().map(|update| update.num_examples).sum(),
            weight,
            update_bytes: round.update_bytes,
            updates: accepted.iter().map(counted).collect(),
            refused: refused.into_iter().map(RefusedUpdate::from).collect(),
        }
    }
}

impl From<&v1::round::Update> for RefusedUpdate {
    fn from(update: &v1::round::Update) -> Self {
        Self {
            client: update.client.clone(),
            worker: update.worker.clone(),
            attempt: update.attempt,
            lease_epoch: update.lease_epoch,
            reason: update.reason.clone(),
            message: update.message.clone(),
            num_examples: update.num_examples,
            bytes: update.bytes,
            digest: update.digest.clone(),
        }
    }
}
