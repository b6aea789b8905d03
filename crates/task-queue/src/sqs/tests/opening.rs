//! What is said of a queue that cannot be opened.

use std::net::TcpListener;

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;

use super::*;
use crate::{MAX_DELIVERIES, contract};

async fn refused(aws: &SdkConfig, config: SqsQueueConfig) -> OpenError {
    SqsQueue::open(aws, config).await.unwrap_err()
}

fn absent() -> SqsQueueConfig {
    SqsQueueConfig {
        create: false,
        ..fresh(MAX_DELIVERIES)
    }
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named_with_what_helps() {
    let Some(aws) = localstack() else { return };
    let config = absent();
    let error = refused(&aws, config.clone()).await;
    let missing = OpenError::NoQueue {
        name: config.name.clone(),
        region: "eu-west-2".to_owned(),
    };
    assert_eq!(error, missing);
    let error = error.to_string();
    assert!(error.contains(&config.name), "{error}");
    assert!(error.contains("eu-west-2"), "{error}");
    assert!(error.contains("`create`"), "{error}");
}

#[tokio::test]
async fn a_queue_that_was_created_is_found() {
    let Some(aws) = localstack() else { return };
    let created = fresh(contract::MAX_DELIVERIES);
    let found = SqsQueueConfig {
        create: false,
        ..created.clone()
    };
    let before = SqsQueue::open(&aws, created.clone()).await.unwrap();
    let again = SqsQueue::open(&aws, created).await.unwrap();
    let after = SqsQueue::open(&aws, found).await.unwrap();
    assert_eq!([&again.tasks, &again.dead], [&before.tasks, &before.dead]);
    assert_eq!([&after.tasks, &after.dead], [&before.tasks, &before.dead]);
}

#[tokio::test]
async fn a_queue_that_is_created_delivers_as_often_as_said_and_keeps_the_dead() {
    let Some(aws) = localstack() else { return };
    let config = fresh(MAX_DELIVERIES);
    let queue = SqsQueue::open(&aws, config.clone()).await.unwrap();
    let setting = async |url: &str, name: QueueAttributeName| {
        let asking = queue.client.get_queue_attributes().queue_url(url);
        let known = asking.attribute_names(name.clone()).send().await.unwrap();
        known.attributes.unwrap()[&name].clone()
    };
    let redrive = setting(&queue.tasks, QueueAttributeName::RedrivePolicy).await;
    assert!(
        redrive.contains(&format!(":{}-dead\"", config.name)),
        "{redrive}"
    );
    assert!(redrive.contains("\"maxReceiveCount\":5"), "{redrive}");
    let seconds = async |url: &str| {
        let kept = setting(url, QueueAttributeName::MessageRetentionPeriod).await;
        kept.parse::<u64>().unwrap()
    };
    assert!(seconds(&queue.dead).await > seconds(&queue.tasks).await);
}

#[tokio::test]
async fn a_queue_that_would_deliver_without_end_is_refused() {
    let Some(aws) = localstack() else { return };
    let config = fresh(MAX_DELIVERIES);
    let creating = Client::new(&aws).create_queue().queue_name(&config.name);
    creating.send().await.unwrap();
    let missing = SqsQueueConfig {
        create: false,
        ..config.clone()
    };
    let error = refused(&aws, missing).await.to_string();
    assert!(error.contains(&format!("{}-dead", config.name)), "{error}");
    let error = refused(&aws, config).await;
    assert!(matches!(error, OpenError::NoRedrive { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("RedrivePolicy"), "{error}");
    assert!(error.contains("arn:aws:sqs:"), "{error}");
}

#[tokio::test]
async fn a_queue_that_takes_small_messages_alone_is_refused() {
    let Some(aws) = localstack() else { return };
    let config = fresh(MAX_DELIVERIES);
    let queue = SqsQueue::open(&aws, config.clone()).await.unwrap();
    let name = QueueAttributeName::MaximumMessageSize;
    let setting = queue.client.set_queue_attributes();
    let setting = setting.queue_url(&queue.tasks).attributes(name, "262144");
    setting.send().await.unwrap();
    let error = refused(&aws, config).await;
    assert!(matches!(error, OpenError::SmallMessages { .. }), "{error}");
    assert!(error.to_string().contains("MaximumMessageSize"), "{error}");
    // Its tasks are refused by the queue alone, and some of a batch may be.
    let large = task(&vec![0; crate::BODY_LIMIT]);
    let Err(QueueError::Unavailable { message }) = queue.send(vec![task(b"a"), large]).await else {
        panic!("a large message is taken");
    };
    assert!(message.starts_with("SQS refused 1 tasks"), "{message}");
    assert_eq!(queue.depth().await.unwrap().visible, 1);
}

#[tokio::test]
async fn what_sqs_refuses_is_told_in_its_words() {
    let Some(aws) = localstack() else { return };
    let config = SqsQueueConfig {
        name: "tasks of ours".to_owned(),
        ..fresh(MAX_DELIVERIES)
    };
    let error = refused(&aws, config).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("create queue tasks of ours-dead"), "{error}");
    assert!(error.contains("alphanumeric"), "{error}");
}

fn impatient(aws: Builder) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(300));
    aws.timeout_config(timeouts.build())
        .retry_config(RetryConfig::disabled())
        .build()
}

#[tokio::test]
async fn an_endpoint_that_refuses_or_hangs_is_named() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let hangs = refused(&impatient(aws(&endpoint)), absent()).await;
    drop(server);
    let refuses = refused(&impatient(aws(&endpoint)), absent()).await;
    for error in [hangs, refuses] {
        let OpenError::Unreachable {
            endpoint: named,
            message,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(named, &endpoint);
        assert!(!message.is_empty());
    }
}

#[tokio::test]
async fn missing_credentials_and_a_missing_region_are_told() {
    let somewhere = || SdkConfig::builder().endpoint_url("http://127.0.0.1:9");
    let error = refused(&impatient(somewhere()), absent()).await;
    assert_eq!(error, OpenError::NoRegion);
    let region = Region::from_static("eu-west-2");
    let error = refused(&impatient(somewhere().region(region)), absent()).await;
    assert!(matches!(error, OpenError::NoCredentials { .. }), "{error}");
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
}
