//! Events of a run, one on each line of `watch`.

use client::v1;
use client::v1::event;
use serde::Serialize;

use super::run::ModelVersion;

#[derive(Debug, Serialize)]
pub(crate) struct Event {
    run: String,
    sequence: u64,
    time_ms: u64,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    RunStateChanged {
        state: &'static str,
        reason: String,
    },
    RoundOpened {
        round: u32,
        cohort: u32,
        quorum: u32,
    },
    UpdateAccepted {
        round: u32,
        client: String,
        worker: String,
        num_examples: u64,
        bytes: u64,
        mean_loss: f64,
    },
    UpdateRefused {
        round: u32,
        client: String,
        worker: String,
        reason: String,
        message: String,
    },
    TaskFailed {
        round: u32,
        client: String,
        worker: String,
        attempt: u32,
        message: String,
    },
    RoundCommitted {
        round: u32,
        accepted: u32,
        refused: u32,
        num_examples: u64,
        accuracy: Option<f64>,
        loss: f64,
        train_loss: f64,
        update_bytes: u64,
        model_digest: String,
        duration_ms: u64,
    },
    RoundAbandoned {
        round: u32,
        reason: String,
    },
    ModelPublished {
        model: Option<ModelVersion>,
    },
    Stalled {
        round: u32,
        waiting_for: String,
        message: String,
    },
    /// One that only a newer program knows.
    Unknown,
}

impl From<v1::Event> for Event {
    fn from(event: v1::Event) -> Self {
        Self {
            run: event.run,
            sequence: event.sequence,
            time_ms: event.time_ms,
            kind: event.kind.map_or(Kind::Unknown, Kind::from),
        }
    }
}

impl From<event::Kind> for Kind {
    fn from(kind: event::Kind) -> Self {
        match kind {
            event::Kind::RunStateChanged(change) => Self::RunStateChanged {
                state: super::state(change.state()),
                reason: change.reason,
            },
            event::Kind::RoundOpened(opened) => Self::RoundOpened {
                round: opened.round,
                cohort: opened.cohort,
                quorum: opened.quorum,
            },
            event::Kind::UpdateAccepted(update) => Self::UpdateAccepted {
                round: update.round,
                client: update.client,
                worker: update.worker,
                num_examples: update.num_examples,
                bytes: update.bytes,
                mean_loss: update.mean_loss,
            },
            event::Kind::UpdateRefused(update) => Self::UpdateRefused {
                round: update.round,
                client: update.client,
                worker: update.worker,
                reason: update.reason,
                message: update.message,
            },
            event::Kind::TaskFailed(task) => Self::TaskFailed {
                round: task.round,
                client: task.client,
                worker: task.worker,
                attempt: task.attempt,
                message: task.message,
            },
            event::Kind::RoundCommitted(round) => Self::RoundCommitted {
                round: round.round,
                accepted: round.accepted,
                refused: round.refused,
                num_examples: round.num_examples,
                accuracy: round.accuracy,
                loss: round.loss,
                train_loss: round.train_loss,
                update_bytes: round.update_bytes,
                model_digest: round.model_digest,
                duration_ms: round.duration_ms,
            },
            event::Kind::RoundAbandoned(round) => Self::RoundAbandoned {
                round: round.round,
                reason: round.reason,
            },
            event::Kind::ModelPublished(published) => Self::ModelPublished {
                model: published.model.as_ref().map(ModelVersion::from),
            },
            event::Kind::Stalled(stalled) => Self::Stalled {
                round: stalled.round,
                waiting_for: stalled.waiting_for,
                message: stalled.message,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(kind: Option<event::Kind>) -> Value {
        let event = v1::Event {
            run: "r".into(),
            sequence: 4,
            time_ms: 9,
            kind,
        };
        serde_json::to_value(Event::from(event)).unwrap()
    }

    #[test]
    fn an_event_is_one_flat_object_with_its_kind() {
        let refused = event::UpdateRefused {
            round: 3,
            client: "client-0007".into(),
            worker: "ada".into(),
            reason: "late".into(),
            message: "the round is closed".into(),
        };
        assert_eq!(
            shown(Some(event::Kind::UpdateRefused(refused))),
            json!({
                "run": "r", "sequence": 4, "time_ms": 9, "kind": "update_refused", "round": 3,
                "client": "client-0007", "worker": "ada", "reason": "late",
                "message": "the round is closed",
            })
        );
    }

    #[test]
    fn every_kind_has_its_word() {
        let kinds = [
            (
                event::Kind::RunStateChanged(Default::default()),
                "run_state_changed",
            ),
            (event::Kind::RoundOpened(Default::default()), "round_opened"),
            (
                event::Kind::UpdateAccepted(Default::default()),
                "update_accepted",
            ),
            (
                event::Kind::UpdateRefused(Default::default()),
                "update_refused",
            ),
            (event::Kind::TaskFailed(Default::default()), "task_failed"),
            (
                event::Kind::RoundCommitted(Default::default()),
                "round_committed",
            ),
            (
                event::Kind::RoundAbandoned(Default::default()),
                "round_abandoned",
            ),
            (
                event::Kind::ModelPublished(Default::default()),
                "model_published",
            ),
            (event::Kind::Stalled(Default::default()), "stalled"),
        ];
        for (kind, word) in kinds {
            assert_eq!(shown(Some(kind))["kind"], word);
        }
        assert_eq!(shown(None)["kind"], "unknown");
    }
}
