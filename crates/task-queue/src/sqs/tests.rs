//! Against LocalStack, where it runs: the contract, and what is of SQS alone.

mod opening;
mod scripted;

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_sdk_sqs::config::{Credentials, Region, SharedCredentialsProvider};
use aws_sdk_sqs::types::MessageAttributeValue;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};
use aws_types::sdk_config::Builder;
use bytes::Bytes;
use clock::{Clock, SystemClock};
use telemetry::trace::{SpanId, TRACEPARENT, TRACESTATE};

use super::*;
use crate::contract::{self, Harness};

const ONE: NonZeroUsize = NonZeroUsize::MIN;
const TEN: NonZeroUsize = ONE.saturating_add(9);
const MINUTE: Duration = Duration::from_secs(60);

/// How to reach what speaks like SQS at `endpoint`.
fn aws(endpoint: &str) -> Builder {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    SdkConfig::builder()
        .region(Region::from_static("eu-west-2"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
}

/// LocalStack, or `None` if it does not run. The runtime of a test is on the thread named after it.
fn localstack() -> Option<SdkConfig> {
    let thread = std::thread::current();
    let endpoint = test_tools::localstack(thread.name().unwrap_or_default())?;
    Some(aws(&endpoint).build())
}

fn fresh(max_deliveries: NonZeroU32) -> SqsQueueConfig {
    SqsQueueConfig {
        name: format!("tasks-{}", SpanId::random()),
        create: true,
        max_deliveries,
    }
}

async fn queue() -> Option<SqsQueue> {
    let config = fresh(contract::MAX_DELIVERIES);
    Some(SqsQueue::open(&localstack()?, config).await.unwrap())
}

async fn harness() -> Option<Harness> {
    Some(Harness {
        queue: Arc::new(queue().await?),
        pass_time: Box::new(|span| Box::pin(tokio::time::sleep(span))),
    })
}

contract::check_together!(harness());

fn task(body: &[u8]) -> TaskMessage {
    TaskMessage {
        body: Bytes::copy_from_slice(body),
        ..TaskMessage::default()
    }
}

async fn receive_now(queue: &SqsQueue) -> Option<Delivery> {
    let received = queue.receive(&[], ONE, MINUTE, Duration::ZERO).await;
    received.unwrap().pop()
}

#[tokio::test]
async fn more_tasks_than_a_batch_holds_all_arrive() {
    let Some(queue) = queue().await else { return };
    let tasks: Vec<TaskMessage> = (0..53_u8).map(|number| task(&[number])).collect();
    queue.send(tasks).await.unwrap();
    let mut bodies = Vec::new();
    let now = SystemClock::default().now();
    while bodies.len() < 53 {
        let received = queue.receive(&[], TEN, MINUTE, MINUTE).await.unwrap();
        assert!((1..=10).contains(&received.len()));
        let ages = received.iter().map(|task| now.since(task.sent_at));
        assert!(ages.max() < Some(MINUTE));
        bodies.extend(received.into_iter().map(|delivery| delivery.body[0]));
    }
    bodies.sort_unstable();
    assert_eq!(bodies, Vec::from_iter(0..53));
    assert_eq!(queue.depth().await.unwrap().leased, 53);
}

#[tokio::test]
async fn large_tasks_travel_in_batches_that_sqs_takes() {
    let Some(queue) = queue().await else { return };
    let large = task(&vec![255; crate::BODY_LIMIT]);
    queue.send(vec![large; 7]).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().visible, 7);
}

#[tokio::test]
async fn a_place_in_a_trace_is_told_to_aws_too() {
    let Some(queue) = queue().await else { return };
    let place = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    let mut sent = task(b"a");
    let state = (TRACESTATE.to_owned(), "house=7".to_owned());
    sent.attributes = [(TRACEPARENT.to_owned(), place.to_owned()), state].into();
    queue.send(vec![sent.clone()]).await.unwrap();

    let asking = queue.client.receive_message().queue_url(&queue.tasks);
    let raw = asking
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All")
        .visibility_timeout(0)
        .send()
        .await
        .unwrap();
    let raw = &raw.messages()[0];
    assert_eq!(
        raw.attributes().unwrap()[&MessageSystemAttributeName::AwsTraceHeader],
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    );
    let attribute = &raw.message_attributes().unwrap()[TRACEPARENT];
    assert_eq!(attribute.string_value(), Some(place));

    let delivery = receive_now(&queue).await.unwrap();
    assert_eq!(delivery.attributes, sent.attributes);
}

#[tokio::test]
async fn a_message_of_somebody_else_is_delivered_with_the_place_that_aws_tells() {
    let Some(queue) = queue().await else { return };
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
    let header = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value(header);
    let number = MessageAttributeValue::builder()
        .data_type("Number")
        .string_value("7");
    let sending = queue.client.send_message().queue_url(&queue.tasks);
    sending
        .message_body("{\"what\": \"größe\"}")
        .message_attributes("number", number.build().unwrap())
        .message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            header.build().unwrap(),
        )
        .send()
        .await
        .unwrap();
    let delivery = receive_now(&queue).await.unwrap();
    assert_eq!(delivery.body, "{\"what\": \"größe\"}");
    let place = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00";
    assert_eq!(delivery.attributes[TRACEPARENT], place);
    assert_eq!(delivery.attributes["number"], "7");
}

#[tokio::test]
async fn a_lease_of_another_process_can_be_extended_and_acknowledged() {
    let Some(aws) = localstack() else { return };
    let config = fresh(contract::MAX_DELIVERIES);
    let before = SqsQueue::open(&aws, config.clone()).await.unwrap();
    before.send(vec![task(b"a")]).await.unwrap();
    let handle = receive_now(&before).await.unwrap().handle;
    let after = SqsQueue::open(&aws, config).await.unwrap();
    after.extend(&handle, 2 * MINUTE).await.unwrap();
    after.acknowledge(&handle).await.unwrap();
    assert_eq!(after.depth().await.unwrap(), Depth::default());
}

#[tokio::test]
async fn a_handle_that_sqs_does_not_know_is_lost() {
    let Some(queue) = queue().await else { return };
    let handle = LeaseHandle("tasks.0000000000000001.task.receipt".to_owned());
    let lost = Err(lost(&handle));
    assert_eq!(queue.extend(&handle, MINUTE).await, lost);
    assert_eq!(queue.give_back(&handle, Duration::ZERO).await, lost);
    assert_eq!(queue.acknowledge(&handle).await, lost);
}

#[tokio::test]
async fn a_spent_handle_is_refused() {
    let Some(queue) = queue().await else { return };
    queue.send(vec![task(b"a"), task(b"b")]).await.unwrap();
    let given_back = receive_now(&queue).await.unwrap().handle;
    queue.give_back(&given_back, MINUTE).await.unwrap();
    let lost_one = Err(lost(&given_back));
    assert_eq!(queue.acknowledge(&given_back).await, lost_one);
    let acknowledged = receive_now(&queue).await.unwrap().handle;
    queue.acknowledge(&acknowledged).await.unwrap();
    let lost_one = Err(lost(&acknowledged));
    assert_eq!(queue.extend(&acknowledged, MINUTE).await, lost_one);
}

#[tokio::test]
async fn a_receiver_waits_as_long_as_asked_and_no_longer() {
    let Some(queue) = queue().await else { return };
    let wait = Duration::from_millis(1300);
    let start = Instant::now();
    assert_eq!(queue.receive(&[], ONE, MINUTE, wait).await, Ok(vec![]));
    let waited = start.elapsed();
    assert!(waited >= wait, "{waited:?}");
    assert!(waited < wait + 2 * SECOND, "{waited:?}");
}

#[tokio::test]
async fn attributes_that_sqs_does_not_take_are_refused_with_its_words() {
    let Some(queue) = queue().await else { return };
    let mut message = task(b"a");
    let empty = ("empty".to_owned(), String::new());
    message.attributes.extend([empty]);
    let Err(QueueError::Unavailable { message }) = queue.send(vec![message]).await else {
        panic!("an empty attribute is taken");
    };
    assert!(message.contains("empty"), "{message}");
}

#[test]
fn spans_are_rounded_up_to_what_sqs_can_tell() {
    let rounded = |millis| whole_seconds(Duration::from_millis(millis)).as_secs();
    assert_eq!([0, 1, 1000, 1001].map(rounded), [0, 1, 1, 2]);
    assert_eq!(whole_seconds(Duration::MAX - SECOND), LEASE_MAX);
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_made_again_and_counts_as_a_loss() {
    let Some(queue) = queue().await else { return };
    queue.send(vec![task(b"lost")]).await.unwrap();
    let held = receive_now(&queue).await.unwrap();
    for url in [&queue.tasks, &queue.dead] {
        let deleting = queue.client.delete_queue().queue_url(url);
        deleting.send().await.unwrap();
    }
    assert_eq!(queue.losses(), 0);
    let gone = queue.receive(&[], ONE, MINUTE, Duration::ZERO).await;
    assert!(
        matches!(gone, Err(QueueError::Unavailable { .. })),
        "{gone:?}"
    );
    assert!(receive_now(&queue).await.is_none());
    assert_eq!(queue.losses(), 1);
    let acknowledged = queue.acknowledge(&held.handle).await;
    assert!(
        matches!(&acknowledged, Ok(()) | Err(QueueError::LeaseLost { .. })),
        "{acknowledged:?}"
    );
    queue.send(vec![task(b"again")]).await.unwrap();
    assert_eq!(receive_now(&queue).await.unwrap().body, "again");
    assert_eq!(queue.losses(), 1);
}
