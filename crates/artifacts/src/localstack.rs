//! Buckets on LocalStack, for tests.

use std::thread;

use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use uuid::Uuid;

use crate::{S3Place, S3Store};

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
