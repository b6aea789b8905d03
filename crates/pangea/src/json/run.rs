//! Runs and their rounds.

use client::{JobDraft, v1};
use serde::Serialize;

use super::moment;

#[derive(Debug, Serialize)]
pub(crate) struct Run {
    run: String,
    name: String,
    state: &'static str,
    reason: String,
    rounds_committed: u32,
    accuracy: Option<f64>,
    loss: Option<f64>,
    model: Option<ModelVersion>,
    created_at_ms: u64,
    finished_at_ms: Option<u64>,
    job_digest: String,
    dataset_digest: String,
    /// As in the job's file. Null when it says what this program does not know.
    job: Option<JobDraft>,
}

impl From<&v1::Run> for Run {
    fn from(run: &v1::Run) -> Self {
        let job = run.job.as_ref();
        Self {
            run: run.run.clone(),
            name: run.name.clone(),
            state: super::state(run.state()),
            reason: run.reason.clone(),
            rounds_committed: run.rounds_committed,
            accuracy: run.accuracy,
            loss: run.loss,
            model: run.model.as_ref().map(ModelVersion::from),
            created_at_ms: run.created_at_ms,
            finished_at_ms: moment(run.finished_at_ms),
            job_digest: run.job_digest.clone(),
            dataset_digest: run.dataset_digest.clone(),
            job: job.and_then(|job| JobDraft::try_from(job).ok()),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ModelVersion {
    name: String,
    version: u32,
    digest: String,
}

impl From<&v1::ModelVersion> for ModelVersion {
    fn from(model: &v1::ModelVersion) -> Self {
        Self {
            name: model.name.clone(),
            version: model.version,
            digest: model.digest.clone(),
        }
    }
}

/// The run that a job was submitted to.
#[derive(Debug, Serialize)]
pub(crate) struct Submission {
    /// Whether an earlier call with the same key had started it.
    pub(crate) existed: bool,
    pub(crate) run: Run,
}

/// A job that is accepted.
#[derive(Debug, Serialize)]
pub(crate) struct Validation {
    pub(crate) file: String,
    pub(crate) job_digest: String,
    /// Known to the orchestrator only, as is the size of the cohort.
    pub(crate) parameters: Option<u64>,
    pub(crate) cohort_size: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Round {
    round: u32,
    phase: String,
    cohort: Vec<String>,
    quorum: u32,
    opened_at_ms: Option<u64>,
    closed_at_ms: Option<u64>,
    accuracy: Option<f64>,
    loss: Option<f64>,
    train_loss: Option<f64>,
    update_bytes: u64,
    model_digest: String,
    base_digest: String,
    updates: Vec<Update>,
}

impl From<&v1::Round> for Round {
    fn from(round: &v1::Round) -> Self {
        Self {
            round: round.round,
            phase: round.phase.clone(),
            cohort: round.cohort.clone(),
            quorum: round.quorum,
            opened_at_ms: moment(round.opened_at_ms),
            closed_at_ms: moment(round.closed_at_ms),
            accuracy: round.accuracy,
            loss: round.loss,
            train_loss: round.train_loss,
            update_bytes: round.update_bytes,
            model_digest: round.model_digest.clone(),
            base_digest: round.base_digest.clone(),
            updates: round.updates.iter().map(Update::from).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Update {
    client: String,
    worker: String,
    attempt: u32,
    lease_epoch: u32,
    num_examples: u64,
    num_steps: u32,
    weight: f64,
    mean_loss: f64,
    bytes: u64,
    digest: String,
    accepted: bool,
    reason: String,
    received_at_ms: u64,
}

impl From<&v1::round::Update> for Update {
    fn from(update: &v1::round::Update) -> Self {
        Self {
            client: update.client.clone(),
            worker: update.worker.clone(),
            attempt: update.attempt,
            lease_epoch: update.lease_epoch,
            num_examples: update.num_examples,
            num_steps: update.num_steps,
            weight: update.weight,
            mean_loss: update.mean_loss,
            bytes: update.bytes,
            digest: update.digest.clone(),
            accepted: update.accepted,
            reason: update.reason.clone(),
            received_at_ms: update.received_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_shows_its_state_its_model_and_what_it_lacks() {
        let model = v1::ModelVersion {
            name: "digits".into(),
            version: 1,
            digest: "blake3:00".into(),
        };
        let run = v1::Run {
            run: "r".into(),
            name: "digits".into(),
            state: v1::RunState::WaitingForWorkers.into(),
            reason: "no worker".into(),
            rounds_committed: 2,
            accuracy: Some(0.5),
            model: Some(model),
            created_at_ms: 7,
            ..v1::Run::default()
        };
        assert_eq!(
            serde_json::to_value(Run::from(&run)).unwrap(),
            json!({
                "run": "r", "name": "digits", "state": "waiting_for_workers",
                "reason": "no worker", "rounds_committed": 2, "accuracy": 0.5, "loss": null,
                "model": {"name": "digits", "version": 1, "digest": "blake3:00"},
                "created_at_ms": 7, "finished_at_ms": null, "job_digest": "",
                "dataset_digest": "", "job": null,
            })
        );
    }

    #[test]
    fn a_round_shows_each_report_and_its_verdict() {
        let update = v1::round::Update {
            client: "client-0000".into(),
            worker: "ada".into(),
            attempt: 2,
            reason: "late".into(),
            ..v1::round::Update::default()
        };
        let round = v1::Round {
            round: 1,
            phase: "training".into(),
            cohort: vec!["client-0000".into()],
            quorum: 1,
            opened_at_ms: 5,
            updates: vec![update],
            ..v1::Round::default()
        };
        assert_eq!(
            serde_json::to_value(Round::from(&round)).unwrap(),
            json!({
                "round": 1, "phase": "training", "cohort": ["client-0000"], "quorum": 1,
                "opened_at_ms": 5, "closed_at_ms": null, "accuracy": null, "loss": null,
                "train_loss": null, "update_bytes": 0, "model_digest": "",
                "base_digest": "",
                "updates": [{
                    "client": "client-0000", "worker": "ada", "attempt": 2, "lease_epoch": 0,
                    "num_examples": 0, "num_steps": 0, "weight": 0.0, "mean_loss": 0.0,
                    "bytes": 0, "digest": "", "accepted": false, "reason": "late",
                    "received_at_ms": 0,
                }],
            })
        );
    }
}
