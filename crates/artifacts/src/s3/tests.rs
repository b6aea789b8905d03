//! A bucket on LocalStack, and servers that refuse.

use std::fs::File;
use std::io::Write;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::types::StorageClass;
use futures::stream::{self, StreamExt, TryStreamExt};
use telemetry::metrics::Registry;

use super::*;
use crate::localstack::{self, Proxy, bucket, pattern, soon};
use crate::{BlobError, Key};
use bytes::Bytes;

const MIB: usize = 1024 * 1024;

/// Two parts and a bit.
const LARGE: usize = 17 * MIB;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn file(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

async fn read(store: &S3Store, name: &str, range: Option<std::ops::Range<u64>>) -> Bytes {
    let chunks = store.get(&key(name), range).await.unwrap();
    let chunks: Vec<Bytes> = chunks.try_collect().await.unwrap();
    chunks.concat().into()
}

fn text(bytes: &'static str) -> Bytes {
    Bytes::from_static(bytes.as_bytes())
}

#[tokio::test]
async fn a_large_object_goes_up_in_parts_and_comes_down_by_ranges() {
    let Some(store) = bucket().await else { return };
    let metrics = crate::Metrics::register(&Registry::new("test").unwrap()).unwrap();
    let store = store.counted(metrics.clone());
    let (bytes, len) = (pattern(LARGE), LARGE as u64);
    let digest = Digest::of(&bytes);
    let put = store.put_file(&key("a"), file(&bytes), len, &digest).await;
    let version = put.unwrap();

    let head = store.head(&key("a")).await.unwrap().unwrap();
    let expected = Head {
        len,
        version,
        digest: Some(digest),
    };
    assert_eq!(head, expected);
    assert!(read(&store, "a", None).await == bytes);
    let part = 8 * MIB;
    for range in [0..1, part - 1..part + 1, 7..LARGE - 7, LARGE..LARGE] {
        let wanted = range.start as u64..range.end as u64;
        let got = read(&store, "a", Some(wanted)).await;
        assert!(got == bytes.slice(range.clone()), "bytes of {range:?}");
    }
    let outside = store.get(&key("a"), Some(0..len + 1)).await.err();
    assert!(matches!(outside, Some(BlobError::RangeOutside { .. })));

    let counted = |operation| {
        let labels = ["s3", operation];
        metrics.requests.with_label_values(&labels).get()
    };
    assert_eq!(
        ["upload", "write", "finish", "put"].map(counted),
        [1, 3, 1, 0]
    );
    let sent = metrics.bytes.with_label_values(&["s3", "write"]).get();
    assert_eq!(sent, len);
}

#[tokio::test]
async fn bytes_of_another_digest_leave_neither_an_object_nor_an_upload() {
    let Some(store) = bucket().await else { return };
    let wrong = Digest::of(b"something else");
    for bytes in [pattern(LARGE), pattern(100)] {
        let len = bytes.len() as u64;
        let refused = store.put_file(&key("a"), file(&bytes), len, &wrong).await;
        let actual = Digest::of(&bytes);
        assert!(
            matches!(&refused, Err(BlobError::DigestMismatch { actual: there, .. }) if *there == actual),
            "{refused:?}"
        );
        assert_eq!(store.head(&key("a")).await.unwrap(), None);
        assert!(store.unfinished().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_file_that_ends_early_leaves_nothing_behind() {
    let Some(store) = bucket().await else { return };
    let bytes = pattern(LARGE);
    let longer = LARGE as u64 + 1;
    let digest = Digest::of(&bytes);
    let put = store
        .put_file(&key("a"), file(&bytes), longer, &digest)
        .await;
    assert!(matches!(put, Err(BlobError::Io { .. })));
    assert_eq!(store.head(&key("a")).await.unwrap(), None);
    assert!(store.unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_aborted() {
    let Some(store) = bucket().await else { return };
    let unfinished = store.begin(&key("a"), &Digest::of(b"")).await.unwrap();
    assert_eq!(store.unfinished().await.unwrap().len(), 1);
    drop(unfinished);
    soon(async {
        while !store.unfinished().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_is_aborted_at_a_start() {
    let Some(store) = bucket().await else { return };
    let unfinished = store.begin(&key("a"), &Digest::of(b"")).await.unwrap();
    store.sweep(multipart::ABANDONED).await.unwrap();
    assert_eq!(store.unfinished().await.unwrap().len(), 1, "a young one");
    // The times that S3 tells are in seconds.
    soon(async {
        while !store.unfinished().await.unwrap().is_empty() {
            store.sweep(Duration::ZERO).await.unwrap();
        }
    })
    .await;
    drop(unfinished);
}

#[tokio::test]
async fn an_upload_whose_last_answer_got_lost_is_complete() {
    let Some(store) = bucket().await else { return };
    let (bytes, key) = (text("pangea"), key("a"));
    let digest = Digest::of(&bytes);
    let unfinished = store.begin(&key, &digest).await.unwrap();
    let source = put::Source::Memory(bytes);
    let sent = store.send_parts(&key, &unfinished, source, 6).await;
    let (parts, _digest) = sent.unwrap();
    let complete = async |digest| {
        let parts = parts.clone();
        store.complete(&key, &unfinished, parts, 6, digest).await
    };
    let first = complete(&digest).await.unwrap();
    assert_eq!(complete(&digest).await.unwrap(), first);
    complete(&Digest::of(b"other")).await.unwrap_err();
}

#[tokio::test]
async fn of_two_who_expect_the_same_one_writes() {
    let Some(store) = bucket().await else { return };
    let swap = async |bytes, expected: &Expected| {
        store.swap(&key("a"), text(bytes), expected).await.unwrap()
    };
    let first = match swap("one", &Expected::Absent).await {
        Swapped::Written(version) => Expected::Version(version),
        Swapped::Lost => panic!("nobody else was there"),
    };
    assert_eq!(swap("two", &Expected::Absent).await, Swapped::Lost);
    assert_eq!(read(&store, "a", None).await, "one");
    assert!(matches!(swap("two", &first).await, Swapped::Written(_)));
    assert_eq!(swap("three", &first).await, Swapped::Lost);
    assert_eq!(read(&store, "a", None).await, "two");
    // A first attempt whose answer got lost.
    assert!(matches!(swap("two", &first).await, Swapped::Written(_)));
    store.delete(&key("a")).await.unwrap();
    assert_eq!(swap("three", &first).await, Swapped::Lost);
    assert_eq!(store.head(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn of_many_at_once_one_writes() {
    let Some(store) = bucket().await else { return };
    let swaps = stream::iter(0..8)
        .map(|writer: u8| {
            let (store, bytes) = (store.clone(), Bytes::from(vec![writer]));
            async move { store.swap(&key("a"), bytes, &Expected::Absent).await }
        })
        .buffer_unordered(8);
    let swapped: Vec<Swapped> = swaps.try_collect().await.unwrap();
    let lost = swapped.iter().filter(|swapped| **swapped == Swapped::Lost);
    assert_eq!(lost.count(), 7);
}

#[tokio::test]
async fn an_object_that_is_replaced_is_not_read_as_one() {
    let Some(store) = bucket().await else { return };
    let old = store.put(&key("a"), text("pangea")).await.unwrap();
    store.put(&key("a"), text("gondwana")).await.unwrap();
    let read = store.read(&key("a"), &old, 0..6).try_collect::<Vec<_>>();
    let refused = read.await.unwrap_err().to_string();
    assert!(refused.contains("replaced"), "{refused}");
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_broke() {
    let Some(endpoint) = localstack::endpoint() else {
        return;
    };
    let proxy = Proxy::before(&endpoint).await;
    let config = localstack::config(&proxy.endpoint);
    let store = S3Store::open(&config, localstack::place()).await.unwrap();
    let bytes = pattern(LARGE);
    store.put(&key("a"), bytes.clone()).await.unwrap();
    proxy.break_after(3 * MIB);
    assert!(read(&store, "a", None).await == bytes);
    assert!(proxy.has_broken());
}

#[tokio::test]
async fn a_list_has_more_than_a_page() {
    let Some(store) = bucket().await else { return };
    let names: Vec<Key> = (0..1001)
        .map(|number| key(&format!("a/{number:04}")))
        .collect();
    stream::iter(&names)
        .map(|name| store.put(name, Bytes::new()))
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert_eq!(store.list("a/").await.unwrap(), names);
}

#[tokio::test]
async fn what_others_keep_in_the_bucket_is_not_seen() {
    let Some(endpoint) = localstack::endpoint() else {
        return;
    };
    let config = localstack::config(&endpoint);
    let place = localstack::place();
    let other = S3Place {
        prefix: "/house-2/".to_owned(),
        ..place.clone()
    };
    let store = S3Store::open(&config, place).await.unwrap();
    let other = S3Store::open(&config, other).await.unwrap();
    other.put(&key("b"), Bytes::new()).await.unwrap();
    store.put(&key("a"), Bytes::new()).await.unwrap();
    let foreign = store.client.put_object().bucket(store.bucket());
    foreign.key("house/NO KEY").send().await.unwrap();
    assert_eq!(store.list("").await.unwrap(), [key("a")]);
    assert_eq!(other.list("").await.unwrap(), [key("b")]);
}

#[tokio::test]
async fn objects_get_the_storage_class_and_the_key_of_their_place() {
    let Some(endpoint) = localstack::endpoint() else {
        return;
    };
    let arn = "arn:aws:kms:eu-west-2:000000000000:key/00000000-0000-0000-0000-000000000001";
    let place = S3Place {
        storage_class: Some("STANDARD_IA".to_owned()),
        kms_key: Some(arn.to_owned()),
        ..localstack::place()
    };
    let config = localstack::config(&endpoint);
    let store = S3Store::open(&config, place).await.unwrap();
    store.put(&key("small"), text("pangea")).await.unwrap();
    store.put(&key("large"), pattern(LARGE)).await.unwrap();
    for name in ["small", "large"] {
        let head = store.client.head_object().bucket(store.bucket());
        let head = head.key(store.object(&key(name))).send().await.unwrap();
        assert_eq!(head.storage_class(), Some(&StorageClass::StandardIa));
        assert_eq!(head.ssekms_key_id(), Some(arn), "{name}");
    }
}

#[tokio::test]
async fn a_bucket_that_may_be_made_is_made_again() {
    let Some(store) = bucket().await else { return };
    let gone = store.client.delete_bucket().bucket(store.bucket());
    gone.send().await.unwrap();
    store.put(&key("a"), text("pangea")).await.unwrap();
    store.delete(&key("a")).await.unwrap();
    let gone = store.client.delete_bucket().bucket(store.bucket());
    gone.send().await.unwrap();
    store.put(&key("b"), pattern(LARGE)).await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_used_says_what_would_be_right() {
    let Some(endpoint) = localstack::endpoint() else {
        return;
    };
    let place = S3Place {
        create: false,
        ..localstack::place()
    };
    let config = localstack::config(&endpoint);
    let refused = S3Store::open(&config, place.clone()).await.unwrap_err();
    assert!(matches!(refused, S3OpenError::NoBucket { .. }), "{refused}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let config = localstack::config(&closed);
    let refused = S3Store::open(&config, place.clone()).await.unwrap_err();
    assert!(
        matches!(&refused, S3OpenError::Unreachable { endpoint, .. } if *endpoint == closed),
        "{refused}"
    );

    let config = localstack::config(&endpoint);
    let nobody = SharedCredentialsProvider::new(Nobody);
    for provider in [None, Some(nobody)] {
        let mut config = config.clone().into_builder();
        config.set_credentials_provider(provider);
        let config = config.build();
        let refused = S3Store::open(&config, place.clone()).await.unwrap_err();
        assert!(
            matches!(refused, S3OpenError::NoCredentials { .. }),
            "{refused}"
        );
    }
}

/// A chain of providers that finds nothing.
#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nothing found")))
    }
}

#[tokio::test]
async fn a_bucket_elsewhere_is_told_with_its_region() {
    let answer = "HTTP/1.1 301 Moved Permanently\r\nx-amz-bucket-region: us-west-2\r\n\
                  content-length: 0\r\nconnection: close\r\n\r\n";
    let endpoint = localstack::answering(answer).await;
    let place = localstack::place();
    let refused = S3Store::open(&localstack::config(&endpoint), place).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, S3OpenError::OtherRegion { region, asked, .. }
            if region == "us-west-2" && asked == "eu-west-2"),
        "{refused}"
    );
}

#[tokio::test]
async fn credentials_that_do_not_suffice_are_told() {
    let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let endpoint = localstack::answering(answer).await;
    let place = localstack::place();
    let refused = S3Store::open(&localstack::config(&endpoint), place).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, S3OpenError::Refused { .. }), "{refused}");
}

/// What only tests do to a bucket.
impl S3Store {
    /// As a server whose disk is gone.
    pub(crate) async fn lose_bucket(&self) {
        for key in self.list("").await.unwrap() {
            self.delete(&key).await.unwrap();
        }
        let gone = self.client.delete_bucket().bucket(self.bucket());
        gone.send().await.unwrap();
    }

    /// As another tool that says of the bytes what it likes.
    pub(crate) async fn forge(&self, key: &Key, bytes: Bytes, digest: Option<&Digest>) {
        let put = self.client.put_object().bucket(self.bucket());
        let metadata = digest.map(|digest| (DIGEST.to_owned(), digest.to_string()));
        put.key(self.object(key))
            .set_metadata(Some(metadata.into_iter().collect()))
            .body(bytes.into())
            .send()
            .await
            .unwrap();
    }
}
