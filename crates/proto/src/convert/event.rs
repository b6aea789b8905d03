//! Events of runs, for those who watch.
//!
//! One way only: a refusal travels as a word and a sentence, and its particulars stay behind.

use federation::event::{Event, RoundOutcome};
use federation::{RunId, Timestamp};

use crate::v1;
use crate::v1::event::{
    Kind, ModelPublished, RoundAbandoned, RoundCommitted, RoundOpened, RunStateChanged, Stalled,
    TaskFailed, UpdateAccepted, UpdateRefused,
};

impl v1::Event {
    /// What happened to `run`, as the `sequence`-th of its events, at `time`.
    #[must_use]
    pub fn recorded(run: RunId, sequence: u64, time: Timestamp, event: &Event) -> Self {
        Self {
            run: run.to_string(),
            sequence,
            time_ms: time.0,
            kind: Some(event.into()),
        }
    }
}

impl From<&Event> for Kind {
    #[expect(clippy::too_many_lines, reason = "one arm for each kind of event")]
    fn from(event: &Event) -> Self {
        match event {
            Event::RunStateChanged { state, reason } => Self::RunStateChanged(RunStateChanged {
                state: v1::RunState::from(*state).into(),
                reason: reason.clone(),
            }),
            Event::RoundOpened {
                round,
                cohort,
                quorum,
            } => Self::RoundOpened(RoundOpened {
                round: *round,
                cohort: *cohort,
                quorum: *quorum,
            }),
            Event::UpdateAccepted {
                round,
                client,
                worker,
                num_examples,
                bytes,
                mean_loss,
            } => Self::UpdateAccepted(UpdateAccepted {
                round: *round,
                client: client.to_string(),
                worker: worker.to_string(),
                num_examples: *num_examples,
                bytes: *bytes,
                mean_loss: *mean_loss,
            }),
            Event::UpdateRefused {
                round,
                client,
                worker,
                refusal,
            } => Self::UpdateRefused(UpdateRefused {
                round: *round,
                client: client.to_string(),
                worker: worker.to_string(),
                reason: refusal.reason().to_owned(),
                message: refusal.to_string(),
            }),
            Event::TaskFailed {
                round,
                client,
                worker,
                attempt,
                message,
            } => Self::TaskFailed(TaskFailed {
                round: *round,
                client: client.to_string(),
                worker: worker.to_string(),
                attempt: *attempt,
                message: message.clone(),
            }),
            Event::RoundCommitted(outcome) => Self::RoundCommitted(outcome.into()),
            Event::RoundAbandoned { round, reason } => Self::RoundAbandoned(RoundAbandoned {
                round: *round,
                reason: reason.clone(),
            }),
            Event::ModelPublished {
                name,
                version,
                digest,
            } => Self::ModelPublished(ModelPublished {
                model: Some(v1::ModelVersion {
                    name: name.clone(),
                    version: *version,
                    digest: digest.to_string(),
                }),
            }),
            Event::Stalled {
                round,
                waiting_for,
                message,
            } => Self::Stalled(Stalled {
                round: *round,
                waiting_for: waiting_for.clone(),
                message: message.clone(),
            }),
        }
    }
}

impl From<&RoundOutcome> for RoundCommitted {
    fn from(outcome: &RoundOutcome) -> Self {
        Self {
            round: outcome.round,
            accepted: outcome.accepted,
            refused: outcome.refused,
            num_examples: outcome.num_examples,
            accuracy: outcome.accuracy,
            loss: outcome.loss,
            train_loss: outcome.train_loss,
            update_bytes: outcome.update_bytes,
            model_digest: outcome.model_digest.to_string(),
            duration_ms: outcome.duration_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use federation::acceptance::Refusal;
    use federation::run::RunState;
    use federation::{ClientId, Digest, WorkerId};
    use prost::Message;

    use super::*;

    const RUN: &str = "0199f0c2-6a1e-7cc0-8000-2f5d9a1b3c4d";

    fn recorded(event: &Event) -> Kind {
        let sent = v1::Event::recorded(RUN.parse().unwrap(), 4, Timestamp(99), event);
        let received = v1::Event::decode(&sent.encode_to_vec()[..]).unwrap();
        assert_eq!(received, sent);
        assert_eq!(
            (received.run.as_str(), received.sequence, received.time_ms),
            (RUN, 4, 99)
        );
        received.kind.unwrap()
    }

    #[test]
    fn what_happens_to_a_run_is_told_in_full() {
        let event = Event::RunStateChanged {
            state: RunState::Failed,
            reason: "no data".into(),
        };
        let told = RunStateChanged {
            state: v1::RunState::Failed.into(),
            reason: "no data".into(),
        };
        assert_eq!(recorded(&event), Kind::RunStateChanged(told));

        let digest = Digest::of(b"model");
        let event = Event::ModelPublished {
            name: "digits".into(),
            version: 2,
            digest,
        };
        let model = v1::ModelVersion {
            name: "digits".into(),
            version: 2,
            digest: digest.to_string(),
        };
        let told = ModelPublished { model: Some(model) };
        assert_eq!(recorded(&event), Kind::ModelPublished(told));

        let event = Event::Stalled {
            round: 0,
            waiting_for: "compute-core".into(),
            message: "no engine".into(),
        };
        let told = Stalled {
            round: 0,
            waiting_for: "compute-core".into(),
            message: "no engine".into(),
        };
        assert_eq!(recorded(&event), Kind::Stalled(told));
    }

    #[test]
    fn what_happens_to_a_round_is_told_in_full() {
        let event = Event::RoundOpened {
            round: 3,
            cohort: 8,
            quorum: 6,
        };
        let told = RoundOpened {
            round: 3,
            cohort: 8,
            quorum: 6,
        };
        assert_eq!(recorded(&event), Kind::RoundOpened(told));

        let event = Event::RoundAbandoned {
            round: 3,
            reason: "too few".into(),
        };
        let told = RoundAbandoned {
            round: 3,
            reason: "too few".into(),
        };
        assert_eq!(recorded(&event), Kind::RoundAbandoned(told));

        let model_digest = Digest::of(b"model");
        let event = Event::RoundCommitted(RoundOutcome {
            round: 1,
            accepted: 2,
            refused: 3,
            num_examples: 4,
            accuracy: Some(0.5),
            loss: 0.6,
            train_loss: 0.7,
            update_bytes: 8,
            model_digest,
            duration_ms: 9,
        });
        let told = RoundCommitted {
            round: 1,
            accepted: 2,
            refused: 3,
            num_examples: 4,
            accuracy: Some(0.5),
            loss: 0.6,
            train_loss: 0.7,
            update_bytes: 8,
            model_digest: model_digest.to_string(),
            duration_ms: 9,
        };
        assert_eq!(recorded(&event), Kind::RoundCommitted(told));
    }

    #[test]
    fn what_happens_to_an_update_is_told_in_full() {
        let (client, worker) = (ClientId(7), WorkerId("ada".into()));
        let event = Event::UpdateAccepted {
            round: 3,
            client,
            worker: worker.clone(),
            num_examples: 5,
            bytes: 8,
            mean_loss: 0.25,
        };
        let told = UpdateAccepted {
            round: 3,
            client: "client-0007".into(),
            worker: "ada".into(),
            num_examples: 5,
            bytes: 8,
            mean_loss: 0.25,
        };
        assert_eq!(recorded(&event), Kind::UpdateAccepted(told));

        let refusal = Refusal::Late { current: 4 };
        let event = Event::UpdateRefused {
            round: 3,
            client,
            worker: worker.clone(),
            refusal,
        };
        let told = UpdateRefused {
            round: 3,
            client: "client-0007".into(),
            worker: "ada".into(),
            reason: "late".into(),
            message: "the round is closed; the run is in round 4".into(),
        };
        assert_eq!(recorded(&event), Kind::UpdateRefused(told));

        let event = Event::TaskFailed {
            round: 3,
            client,
            worker,
            attempt: 2,
            message: "out of memory".into(),
        };
        let told = TaskFailed {
            round: 3,
            client: "client-0007".into(),
            worker: "ada".into(),
            attempt: 2,
            message: "out of memory".into(),
        };
        assert_eq!(recorded(&event), Kind::TaskFailed(told));
    }
}
