//! From a round's cohort to messages in the queue.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use clock::Clock;
use federation::round::Phase;
use federation::{ClientId, KernelClass, TaskId, seed};
use proto::v1;
use task_queue::{MemoryQueue, PINNED_TO, PinnedQueue, QueueError, TaskMessage, TaskQueue};
use telemetry::trace::{Span, TRACEPARENT, TRACESTATE};
use tracing::info;

use crate::admit::Work;
use crate::problem::Problem;
use crate::study::Study;
use crate::trace::attempt;

/// Tasks sent at once: a few hundred kilobytes of messages.
const BATCH: usize = 256;

/// The queue with room beside it for tasks that are pinned to a class of kernels.
#[must_use]
pub fn with_pins(
    queue: Arc<dyn TaskQueue>,
    clock: &Arc<dyn Clock>,
    max_deliveries: NonZeroU32,
) -> Arc<dyn TaskQueue> {
    let pinned = KernelClass::ALL.map(|class| {
        let queue = MemoryQueue::new(Arc::clone(clock)).with_max_deliveries(max_deliveries);
        (class.to_string(), queue)
    });
    Arc::new(PinnedQueue::beside(queue, pinned.into()))
}

/// Queues the work that is waiting to be, as far as the queue has room; the rest goes on waiting.
/// A task queued twice is done twice and counts once. Its span is that of the try that sends: one
/// that finds no room leaves none.
///
/// # Errors
///
/// [`Problem::Stalled`] when the queue cannot be reached.
pub async fn dispatch(study: &Study, work: &mut Work, is_kept: bool) -> Result<(), Problem> {
    send_lost_again(study, work);
    let Some(round) = &work.round else {
        return Ok(());
    };
    if work.to_dispatch.is_empty() {
        work.dispatching = None;
        return Ok(());
    }
    let number = round.number();
    let waiting = work.to_dispatch.len();
    let waited = work.dispatching.take_if(|(round, _)| *round == number);
    let span = match waited {
        Some((_, span)) => span,
        None if is_kept => {
            telemetry::span!("dispatch", "round" = number, "waiting" = waiting)
        }
        None => Span::none(),
    };
    // Tasks are in the round's trace, whether this try is kept or not.
    let place = if span.is_kept() { &span } else { &work.span };
    let attributes = attributes(place, work.spec.kernel_class);
    attempt(&span, send(study, work, number, &attributes)).await?;
    match waiting - work.to_dispatch.len() {
        0 => work.dispatching = span.is_kept().then_some((number, span)),
        sent => span.set("sent", sent),
    }
    Ok(())
}

/// Has all open tasks of the round queued again, if the queue has lost what it held.
fn send_lost_again(study: &Study, work: &mut Work) {
    let losses = study.queue.losses();
    if std::mem::replace(&mut work.losses, losses) == losses {
        return;
    }
    let Some(round) = &work.round else { return };
    if round.phase() != Phase::Training {
        return;
    }
    let open = round.cohort().iter().copied();
    let open = open.filter(|&client| !round.has_update(client));
    let tasks: Vec<_> = open
        .filter_map(|client| Some((client, round.attempt(client)?)))
        .collect();
    info!(run = %work.run, round = round.number(), tasks = tasks.len(), "lost tasks are queued again");
    work.to_dispatch = tasks;
}

async fn send(
    study: &Study,
    work: &mut Work,
    number: u32,
    attributes: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    while !work.to_dispatch.is_empty() {
        let batch = &work.to_dispatch[..work.to_dispatch.len().min(BATCH)];
        let count = batch.len();
        let messages = batch
            .iter()
            .map(|&(client, attempt)| TaskMessage {
                body: task(work, number, client, attempt),
                attributes: attributes.clone(),
            })
            .collect();
        match study.queue.send(messages).await {
            Ok(()) => drop(work.to_dispatch.drain(..count)),
            Err(QueueError::Full { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Says which workers may have the tasks, and tells them where in a trace they come from.
fn attributes(span: &Span, pin: Option<KernelClass>) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    if let Some(class) = pin {
        attributes.insert(PINNED_TO.to_owned(), class.to_string());
    }
    if let Some(context) = span.context() {
        attributes.insert(TRACEPARENT.to_owned(), context.traceparent());
        if let Some(state) = context.state {
            attributes.insert(TRACESTATE.to_owned(), state.to_string());
        }
    }
    attributes
}

fn task(work: &Work, round: u32, client: ClientId, attempt: u32) -> Bytes {
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
            body: Some(shard.body(work.dataset.layout())),
        }),
        local: Some((&work.spec.local).into()),
        // Of the round and the client alone, so that every attempt yields the same bytes.
        seed: seed::derive(
            work.spec.seed,
            "train",
            &[u64::from(round), u64::from(client.0)],
        ),
        kernel_class: work
            .spec
            .kernel_class
            .map_or_else(String::new, |class| class.to_string()),
    };
    task.to_bytes()
}
