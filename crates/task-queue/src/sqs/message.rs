//! A task as a message of SQS, and back.
//!
//! A body is text there, so ours is written in base64. The empty body is a lone `=`, because SQS
//! refuses an empty text. What is not base64 is somebody else's message, and its text is the body:
//! what it means is for others to tell.

use std::collections::BTreeMap;

use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clock::Timestamp;
use telemetry::trace::TRACEPARENT;

use super::trace_header;
use crate::{BODY_LIMIT, TaskMessage};

/// The type of our attributes; it counts towards a message's size, for each of them.
const STRING: &str = "String";
/// Most attributes of a message.
///
/// # Source
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const ATTRIBUTES_MAX: usize = 10;
/// Bytes that a queue must take in one message, for one at [`BODY_LIMIT`] to fit in base64.
pub(super) const MESSAGE_BYTES_NEEDED: usize =
    BODY_LIMIT.div_ceil(3) * 4 + ATTRIBUTES_MAX * STRING.len();
/// Stands for a body of no bytes.
const EMPTY: &str = "=";

/// An entry of a batch, and what it adds to the batch's size.
pub(super) struct Entry {
    pub(super) entry: SendMessageBatchRequestEntry,
    pub(super) bytes: usize,
}

/// A task as SQS delivered it.
pub(super) struct Received<'a> {
    /// The same in every delivery.
    pub(super) id: &'a str,
    pub(super) receipt: &'a str,
    pub(super) body: Bytes,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) epoch: u32,
    pub(super) sent_at: Timestamp,
}

/// The entry for `message`, with `id` to tell it from others of its batch.
pub(super) fn entry(id: usize, message: &TaskMessage) -> Result<Entry, BuildError> {
    let body = if message.body.is_empty() {
        EMPTY.to_owned()
    } else {
        STANDARD.encode(&message.body)
    };
    let mut bytes = body.len();
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(id.to_string())
        .message_body(body);
    for (name, value) in &message.attributes {
        bytes += name.len() + STRING.len() + value.len();
        let value = MessageAttributeValue::builder()
            .data_type(STRING)
            .string_value(value);
        entry = entry.message_attributes(name, value.build()?);
    }
    // Beside the traceparent, for AWS's own services. Not counted towards the message's size.
    let header = message.attributes.get(TRACEPARENT);
    if let Some(header) = header.and_then(|place| trace_header::from_traceparent(place)) {
        let value = MessageSystemAttributeValue::builder()
            .data_type(STRING)
            .string_value(header);
        entry = entry.message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            value.build()?,
        );
    }
    let entry = entry.build()?;
    Ok(Entry { entry, bytes })
}

/// What SQS delivered. `None` for a message that cannot be acknowledged, which SQS never sends.
pub(super) fn received(message: &Message) -> Option<Received<'_>> {
    let system = |name| message.attributes()?.get(&name).map(String::as_str);
    let mut attributes: BTreeMap<String, String> = message
        .message_attributes()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.string_value()?.to_owned())))
        .collect();
    if !attributes.contains_key(TRACEPARENT)
        && let Some(header) = system(MessageSystemAttributeName::AwsTraceHeader)
        && let Some(traceparent) = trace_header::to_traceparent(header)
    {
        attributes.insert(TRACEPARENT.to_owned(), traceparent);
    }
    let number = |name| system(name)?.parse().ok();
    let epoch = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
    let sent_at = number(MessageSystemAttributeName::SentTimestamp).unwrap_or_default();
    Some(Received {
        id: message.message_id()?,
        receipt: message.receipt_handle()?,
        body: body(message.body().unwrap_or_default()),
        attributes,
        epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
        sent_at: Timestamp(sent_at),
    })
}

fn body(text: &str) -> Bytes {
    if text == EMPTY {
        return Bytes::new();
    }
    match STANDARD.decode(text) {
        Ok(body) => body.into(),
        Err(_) => Bytes::copy_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &TaskMessage) -> String {
        entry(0, message).unwrap().entry.message_body
    }

    fn task(body: &[u8]) -> TaskMessage {
        TaskMessage {
            body: Bytes::copy_from_slice(body),
            ..TaskMessage::default()
        }
    }

    #[test]
    fn every_body_is_a_text_and_comes_back() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", &[0, 159, 146, 150]] {
            let text = text(&task(bytes));
            assert!(!text.is_empty());
            assert_eq!(body(&text), bytes);
        }
    }

    #[test]
    fn the_message_of_somebody_else_keeps_its_text() {
        for text in ["", "{\"task\": 7}", "größe", "==", "YQ"] {
            assert_eq!(body(text), text);
        }
    }

    #[test]
    fn what_a_queue_must_take_is_enough_for_every_message() {
        let full = task(&vec![0; BODY_LIMIT]);
        assert!(entry(0, &full).unwrap().bytes <= MESSAGE_BYTES_NEEDED);
        let mut full = task(&vec![0; BODY_LIMIT - 100]);
        for number in 0..10 {
            let name = format!("attribute{number}");
            full.attributes.insert(name, String::new());
        }
        full.check_size().unwrap();
        assert!(entry(0, &full).unwrap().bytes <= MESSAGE_BYTES_NEEDED);
    }

    #[test]
    fn a_traceparent_of_our_own_wins_over_that_of_aws() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8";
        let message = Message::builder()
            .message_id("id")
            .receipt_handle("receipt")
            .attributes(MessageSystemAttributeName::AwsTraceHeader, header);
        let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let attribute = MessageAttributeValue::builder()
            .data_type(STRING)
            .string_value(own);
        let both = message
            .clone()
            .message_attributes(TRACEPARENT, attribute.build().unwrap())
            .build();
        assert_eq!(received(&both).unwrap().attributes[TRACEPARENT], own);
        let theirs = message.build();
        assert_eq!(
            received(&theirs).unwrap().attributes[TRACEPARENT],
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00"
        );
    }
}
