//! Against a server that answers as the test says, for what no broker does when asked.

use aws_sdk_sqs::config::retry::RetryConfig;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server with its script.
struct Served(tokio::task::JoinHandle<Vec<String>>);

impl Served {
    /// What it was asked, once it has given all its answers.
    async fn asked(self) -> Vec<String> {
        let asked = tokio::time::timeout(MINUTE, self.0).await;
        asked.expect("it was asked less often").unwrap()
    }
}

/// Answers each call with the next of `answers`.
async fn serve(answers: impl IntoIterator<Item = (u16, &'static str)>) -> (SqsQueue, Served) {
    let answers = Vec::from_iter(answers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for (status, answer) in answers {
            let (connection, _) = listener.accept().await.unwrap();
            asked.push(answer_one(connection, status, answer).await);
        }
        asked
    });
    let config = aws_sdk_sqs::config::Builder::from(&aws(&endpoint).build());
    let config = config.retry_config(RetryConfig::disabled());
    let client = Client::from_conf(config.build());
    let queue = SqsQueue {
        again: Again::new(crate::sqs::opening::Opening {
            aws: aws(&endpoint).build(),
            region: "eu-west-2".to_owned(),
            client: client.clone(),
            queue: SqsQueueConfig {
                create: false,
                ..fresh(contract::MAX_DELIVERIES)
            },
        }),
        client,
        tasks: format!("{endpoint}/tasks"),
        dead: format!("{endpoint}/dead"),
        attempt: SECOND,
        call: SECOND,
        leases: Leases::new(),
    };
    (queue, Served(served))
}

async fn answer_one(connection: TcpStream, status: u16, answer: &str) -> String {
    let mut stream = BufStream::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let length = answer.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\nconnection: close\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    String::from_utf8(body).unwrap()
}

const ONE_FAILED: &str = r#"{"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "d"}],
    "Failed": [{"Id": "1", "SenderFault": false, "Code": "InternalError", "Message": "try again"}]}"#;
const ALL_SENT: &str =
    r#"{"Successful": [{"Id": "1", "MessageId": "m", "MD5OfMessageBody": "d"}], "Failed": []}"#;

#[tokio::test]
async fn what_failed_of_a_batch_is_sent_once_more_and_nothing_else() {
    let (queue, served) = serve([(200, ONE_FAILED), (200, ALL_SENT)]).await;
    queue
        .send(vec![task(b"first"), task(b"second")])
        .await
        .unwrap();
    let asked = served.asked().await;
    assert!(asked[0].contains("Zmlyc3Q=") && asked[0].contains("c2Vjb25k"));
    assert!(!asked[1].contains("Zmlyc3Q=") && asked[1].contains("c2Vjb25k"));
}

#[tokio::test]
async fn what_fails_twice_is_told() {
    let (queue, served) = serve([(200, ONE_FAILED), (200, ONE_FAILED)]).await;
    let sent = queue.send(vec![task(b"first"), task(b"second")]).await;
    let Err(QueueError::Unavailable { message }) = sent else {
        panic!("{sent:?}");
    };
    assert!(message.contains("InternalError: try again"), "{message}");
    served.asked().await;
}

#[tokio::test]
async fn what_sqs_answers_to_a_stale_handle_is_a_lost_lease() {
    let (queue, served) = serve([
        (400, r#"{"__type": "com.amazonaws.sqs#MessageNotInflight"}"#),
        (400, r#"{"__type": "com.amazonaws.sqs#ReceiptHandleIsInvalid"}"#),
        (
            400,
            r#"{"__type": "com.amazonaws.sqs#InvalidParameterValue", "message":
                "Value x for parameter ReceiptHandle is invalid. Reason: Message does not exist."}"#,
        ),
    ])
    .await;
    let handle = LeaseHandle("tasks.0000000000000001.task.receipt".to_owned());
    for _answer in 0..3 {
        assert_eq!(queue.extend(&handle, MINUTE).await, Err(lost(&handle)));
    }
    served.asked().await;
}

#[tokio::test]
async fn what_sqs_cannot_do_now_is_told_with_its_words_and_keeps_the_lease() {
    let received = r#"{"Messages": [{"MessageId": "task", "ReceiptHandle": "receipt", "Body": "YQ==",
        "Attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1700000000123"}}]}"#;
    let denied = r#"{"__type": "com.amazonaws.sqs#AccessDenied", "message": "no such luck"}"#;
    let (queue, served) = serve([(200, received), (400, denied), (200, "{}")]).await;
    let delivery = receive_now(&queue).await.unwrap();
    assert_eq!((delivery.epoch, delivery.sent_at.0), (2, 1_700_000_000_123));
    let Err(QueueError::Unavailable { message }) = queue.acknowledge(&delivery.handle).await else {
        panic!("a refusal is an acknowledgement");
    };
    assert!(message.contains("no such luck"), "{message}");
    queue.acknowledge(&delivery.handle).await.unwrap();
    // Not asked again: SQS would say yes to a handle that is spent.
    let again = queue.acknowledge(&delivery.handle).await;
    assert_eq!(again, Err(lost(&delivery.handle)));
    served.asked().await;
}

#[tokio::test]
async fn a_long_wait_is_asked_for_in_pieces_that_sqs_takes() {
    let received = r#"{"Messages": [{"MessageId": "task", "ReceiptHandle": "receipt"}]}"#;
    let (queue, served) = serve([(200, "{}"), (200, received)]).await;
    let hundred = TEN.saturating_mul(TEN);
    let receiving = queue.receive(&[], hundred, 60 * 24 * MINUTE, MINUTE);
    assert_eq!(receiving.await.unwrap().len(), 1);
    let asked = served.asked().await;
    for asked in asked {
        let bounds: Vec<&str> = asked.split([',', '{', '}']).collect();
        assert!(bounds.contains(&r#""WaitTimeSeconds":20"#), "{asked}");
        assert!(bounds.contains(&r#""MaxNumberOfMessages":10"#), "{asked}");
        assert!(bounds.contains(&r#""VisibilityTimeout":43200"#), "{asked}");
    }
}

#[tokio::test]
async fn a_lease_that_has_ended_is_refused_before_sqs_is_asked() {
    let received =
        r#"{"Messages": [{"MessageId": "task", "ReceiptHandle": "receipt", "Body": "YQ=="}]}"#;
    let (queue, served) = serve([(200, received)]).await;
    let deliveries = queue
        .receive(&[], ONE, Duration::ZERO, Duration::ZERO)
        .await;
    let handle = &deliveries.unwrap()[0].handle;
    assert_eq!(queue.acknowledge(handle).await, Err(lost(handle)));
    assert_eq!(served.asked().await.len(), 1);
}

#[tokio::test]
async fn a_broker_that_stops_answering_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut queue, _served) = serve([]).await;
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let config = aws_sdk_sqs::config::Builder::from(&aws(&endpoint).build());
    queue.client = Client::from_conf(config.build());
    queue.attempt = Duration::from_millis(200);
    queue.call = Duration::from_millis(500);
    let receiving = queue.receive(&[], ONE, MINUTE, Duration::ZERO);
    let received = tokio::time::timeout(MINUTE, receiving).await.unwrap();
    assert!(matches!(received, Err(QueueError::Unavailable { .. })));
}
