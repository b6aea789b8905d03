//! Tasks into the queue, in batches.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchRequestEntry};
use tokio::task::JoinSet;

use super::again::is_gone;
use super::message::{Entry, entry};
use super::unavailable;
use crate::{QueueError, TaskMessage};

/// Most messages of a batch, and most bytes of all of them together.
///
/// # Source
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const BATCH_MESSAGES: usize = 10;
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches under way at once: a few connections, and a few megabytes of bodies.
const BATCHES_AT_ONCE: usize = 4;

/// Why messages were not sent.
pub(super) struct Failure {
    pub(super) error: QueueError,
    /// Whether there is no queue.
    pub(super) is_gone: bool,
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self {
            error,
            is_gone: false,
        }
    }
}

/// Sends all messages, or says why some are perhaps not in the queue.
pub(super) async fn send(
    client: &Client,
    queue_url: &str,
    messages: &[TaskMessage],
) -> Result<(), Failure> {
    let mut waiting = batches(messages)?.into_iter();
    let mut sending = JoinSet::new();
    loop {
        while sending.len() < BATCHES_AT_ONCE
            && let Some(batch) = waiting.next()
        {
            sending.spawn(send_batch(client.clone(), queue_url.to_owned(), batch));
        }
        match sending.join_next().await {
            Some(sent) => sent.map_err(|error| unavailable(&error))??,
            None => return Ok(()),
        }
    }
}

fn batches(messages: &[TaskMessage]) -> Result<Vec<Vec<SendMessageBatchRequestEntry>>, QueueError> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    for (number, message) in messages.iter().enumerate() {
        let Entry { entry, bytes } = entry(number, message).map_err(|error| unavailable(&error))?;
        if batch.len() == BATCH_MESSAGES || batch_bytes + bytes > BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            batch_bytes = 0;
        }
        batch.push(entry);
        batch_bytes += bytes;
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    Ok(batches)
}

/// SQS may take some messages of a batch and not others. Those that failed at its side get a second
/// try; those that failed at ours would fail again.
async fn send_batch(
    client: Client,
    queue_url: String,
    batch: Vec<SendMessageBatchRequestEntry>,
) -> Result<(), Failure> {
    let mut failed = send_once(&client, &queue_url, batch.clone()).await?;
    if !failed.is_empty() && !failed.iter().any(BatchResultErrorEntry::sender_fault) {
        let again = batch
            .into_iter()
            .filter(|entry| failed.iter().any(|failed| failed.id == entry.id));
        failed = send_once(&client, &queue_url, again.collect()).await?;
    }
    let Some(first) = failed.first() else {
        return Ok(());
    };
    let reason = first.message().unwrap_or("no reason given");
    let message = format!(
        "SQS refused {} tasks of a batch, the first of them with {}: {reason}",
        failed.len(),
        first.code(),
    );
    Err(QueueError::Unavailable { message }.into())
}

async fn send_once(
    client: &Client,
    queue_url: &str,
    batch: Vec<SendMessageBatchRequestEntry>,
) -> Result<Vec<BatchResultErrorEntry>, Failure> {
    let sending = client
        .send_message_batch()
        .queue_url(queue_url)
        .set_entries(Some(batch));
    let sent = sending.send().await.map_err(|error| Failure {
        is_gone: is_gone(&error),
        error: unavailable(&error),
    })?;
    Ok(sent.failed)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::BODY_LIMIT;

    fn lengths(bodies: &[usize]) -> Vec<usize> {
        let task = |&bytes: &usize| TaskMessage {
            body: Bytes::from(vec![7; bytes]),
            ..TaskMessage::default()
        };
        let messages: Vec<TaskMessage> = bodies.iter().map(task).collect();
        batches(&messages).unwrap().iter().map(Vec::len).collect()
    }

    #[test]
    fn a_batch_is_bounded_in_messages_and_in_bytes() {
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&[1; 10]), [10]);
        assert_eq!(lengths(&[1; 25]), [10, 10, 5]);
        assert_eq!(lengths(&[BODY_LIMIT; 5]), [2, 2, 1]);
        // Three quarters of a mebibyte become one.
        assert_eq!(lengths(&[BODY_LIMIT - 4; 4]), [3, 1]);
    }
}
