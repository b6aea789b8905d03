//! Buckets on LocalStack, for tests.

mod proxy;

use std::thread;
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{S3Place, S3Store};
pub(crate) use proxy::Proxy;

/// Where LocalStack answers, if it was started; else the running test is noted as skipped.
pub(crate) fn endpoint() -> Option<String> {
    let test = thread::current();
    test_tools::localstack(test.name().unwrap_or("artifacts"))
}

pub(crate) fn config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .endpoint_url(endpoint)
        .region(Region::new("eu-west-2"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A bucket of nobody else.
pub(crate) fn place() -> S3Place {
    S3Place {
        bucket: format!("test-{}", Uuid::new_v4().simple()),
        prefix: "house".to_owned(),
        path_style: true,
        storage_class: None,
        kms_key: None,
        create: true,
    }
}

/// An empty bucket on LocalStack.
pub(crate) async fn bucket() -> Option<S3Store> {
    let endpoint = endpoint()?;
    let opened = S3Store::open(&config(&endpoint), place()).await;
    Some(opened.expect("a bucket on LocalStack"))
}

/// Waits for what happens in the background.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), work).await;
    waited.expect("this is still not so after a minute")
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize) -> bytes::Bytes {
    crate::contract::pattern(len)
}

/// A server with one answer to everything.
pub(crate) async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _address)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            if client.read(&mut request).await.is_ok() {
                // The client may have gone; its test says what it missed.
                drop(client.write_all(answer.as_bytes()).await);
            }
        }
    });
    endpoint
}
