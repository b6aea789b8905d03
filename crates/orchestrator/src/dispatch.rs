//! From a round's cohort to messages in the queue.

use std::collections::BTreeMap;

use artifacts::Key;
use federation::{ClientId, TaskId, seed};
use proto::v1;
use task_queue::TaskMessage;

use crate::admit::Work;
use crate::problem::Problem;
use crate::study::Study;

/// Queues the work that is waiting to be. A task queued twice is done twice and counts once.
///
/// # Errors
///
/// [`Problem::Stalled`] when the queue does not take it; the work goes on waiting.
pub async fn dispatch(study: &Study, work: &mut Work) -> Result<(), Problem> {
    let Some(round) = &work.round else {
        return Ok(());
    };
    let messages: Vec<_> = work
        .to_dispatch
        .iter()
        .map(|&(client, attempt)| message(work, round.number(), client, attempt))
        .collect();
    if !messages.is_empty() {
        study.queue.send(messages).await?;
        work.to_dispatch.clear();
    }
    Ok(())
}

fn message(work: &Work, round: u32, client: ClientId, attempt: u32) -> TaskMessage {
    let task = TaskId {
        run: work.run,
        round,
        client,
        attempt,
    };
    let shard = &work.shards[client.0 as usize];
    let task = v1::TrainTask {
        task: task.to_string(),
        model: Some(work.architecture().into()),
        parameters: Some(work.checkpoint.model.located(work.architecture())),
        shard: Some(v1::BlobRef {
            key: shard.blob.key.to_string(),
            offset_bytes: shard.blob.offset,
            body: Some(shard.body(work.dataset.features.len())),
        }),
        local: Some((&work.spec.local).into()),
        // Of the round and the client alone, so that every attempt yields the same bytes.
        seed: seed::derive(
            work.spec.seed,
            "train",
            &[u64::from(round), u64::from(client.0)],
        ),
        update_key: Key::update(work.run, round, client, attempt).to_string(),
    };
    TaskMessage {
        body: task.to_bytes(),
        attributes: BTreeMap::new(),
    }
}
