//! What was kept of a round, and what the store holds.

use client::v1;
use serde::Serialize;

/// A round that was made again.
#[derive(Debug, Serialize)]
pub(crate) struct Replay {
    run: String,
    round: u32,
    equal: bool,
    recorded_digest: String,
    replayed_digest: String,
    base_digest: String,
    duration_ms: u64,
    updates: Vec<ReplayedUpdate>,
}

#[derive(Debug, Serialize)]
struct ReplayedUpdate {
    client: String,
    num_examples: u64,
    weight: f64,
    bytes: u64,
    digest: String,
    key: String,
    offset_bytes: u64,
}

impl From<&v1::ReplayResponse> for Replay {
    fn from(answer: &v1::ReplayResponse) -> Self {
        let update = |update: &v1::replay_response::Update| ReplayedUpdate {
            client: update.client.clone(),
            num_examples: update.num_examples,
            weight: update.weight,
            bytes: update.bytes,
            digest: update.digest.clone(),
            key: update.key.clone(),
            offset_bytes: update.offset_bytes,
        };
        Self {
            run: answer.run.clone(),
            round: answer.round,
            equal: answer.equal,
            recorded_digest: answer.recorded_digest.clone(),
            replayed_digest: answer.replayed_digest.clone(),
            base_digest: answer.base_digest.clone(),
            duration_ms: answer.duration_ms,
            updates: answer.updates.iter().map(update).collect(),
        }
    }
}

/// What the artifact store held, and what of it goes or went.
#[derive(Debug, Serialize)]
pub(crate) struct Collection {
    removed: bool,
    budget_bytes: Option<u64>,
    held: Vec<Kind>,
    garbage: Vec<Kind>,
}

#[derive(Debug, Serialize)]
struct Kind {
    kind: String,
    objects: u64,
    bytes: u64,
}

impl From<&v1::CollectGarbageResponse> for Collection {
    fn from(answer: &v1::CollectGarbageResponse) -> Self {
        let kind = |kind: &str, objects, bytes| Kind {
            kind: kind.to_owned(),
            objects,
            bytes,
        };
        let held = answer.held.iter();
        let garbage = answer.garbage.iter();
        Self {
            removed: answer.removed,
            budget_bytes: answer.budget_bytes,
            held: held
                .map(|held| kind(&held.kind, held.objects, held.bytes))
                .collect(),
            garbage: garbage
                .map(|found| kind(&found.kind, found.objects, found.bytes))
                .collect(),
        }
    }
}
