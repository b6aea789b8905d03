//! What every store promises, as tests.
//!
//! A backend's tests say `artifacts::contract::check!(async { harness });` where the expression
//! makes a fresh, empty store each time; or `async { Some(harness) }`, where `None` says that what
//! the backend needs is not there, and the check is skipped. The suite knows only [`BlobStore`].

#![expect(
    clippy::missing_panics_doc,
    reason = "a check says no by panicking, and nothing else"
)]

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use federation::Digest;
use futures::TryStreamExt;

use crate::{BlobError, BlobRef, BlobStore, CHUNK_MAX, Key, Upload, fetch};

/// Runs every check as a test of its own.
pub use crate::__check_blob_store as check;

/// Two whole chunks and a bit.
const LARGE: usize = 2 * CHUNK_MAX + 12_345;

/// A fresh store, and what must live as long as it.
pub struct Harness {
    /// The store, empty.
    pub store: Arc<dyn BlobStore>,
    /// A directory, a server: dropped after the check.
    pub keep: Box<dyn Any + Send>,
}

impl Harness {
    async fn put(&self, name: &str, bytes: &'static str) {
        let bytes = Bytes::from_static(bytes.as_bytes());
        self.store.put(&key(name), bytes).await.expect("put");
    }

    async fn begin(&self, name: &str, bytes: &Bytes) -> Box<dyn Upload> {
        self.store
            .upload(&key(name), bytes.len() as u64, &Digest::of(bytes))
            .await
            .expect("begin an upload")
    }

    async fn upload(&self, name: &str, bytes: &Bytes) {
        let mut upload = self.begin(name, bytes).await;
        let rest = bytes.slice(offset(&*upload)..);
        write_all(&mut *upload, &rest).await;
        upload.finish().await.expect("finish");
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Bytes, BlobError> {
        let mut chunks = self.store.get(&key(name), range).await?;
        let mut all = BytesMut::new();
        while let Some(chunk) = chunks.try_next().await? {
            assert!(chunk.len() <= CHUNK_MAX, "a chunk of {}", chunk.len());
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    async fn head(&self, name: &str) -> Option<u64> {
        self.store.head(&key(name)).await.expect("head")
    }
}

fn key(name: &str) -> Key {
    name.parse().expect("a valid key")
}

/// Bytes that differ from place to place, so that a shift or a swap shows.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len as u64)
        .map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0])
        .collect()
}

fn offset(upload: &dyn Upload) -> usize {
    usize::try_from(upload.offset()).expect("an offset within the object")
}

async fn write_all(upload: &mut dyn Upload, bytes: &Bytes) {
    for start in (0..bytes.len()).step_by(CHUNK_MAX) {
        let end = bytes.len().min(start + CHUNK_MAX);
        upload.write(bytes.slice(start..end)).await.expect("write");
    }
}

/// Ends a check that hangs.
pub async fn within_a_minute(check: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), check)
        .await
        .expect("the check is still waiting after a minute");
}

/// The plainest sentence.
pub async fn what_was_put_is_got(harness: &Harness) {
    harness.put("a/b", "pangea").await;
    assert_eq!(harness.get("a/b", None).await.expect("get"), "pangea");
    assert_eq!(harness.head("a/b").await, Some(6));
}

/// The last one put is the one there is, be it longer or shorter.
pub async fn a_put_replaces(harness: &Harness) {
    for text in ["pangea", "gondwana", "ur"] {
        harness.put("a", text).await;
        assert_eq!(harness.get("a", None).await.expect("get"), text);
    }
}

/// Also across the borders of chunks, and down to none.
pub async fn a_range_gives_exactly_its_bytes(harness: &Harness) {
    let bytes = pattern(LARGE);
    harness.upload("a", &bytes).await;
    for range in [
        0..1,
        1..CHUNK_MAX,
        CHUNK_MAX - 1..CHUNK_MAX + 1,
        7..LARGE - 7,
        LARGE - 1..LARGE,
        5..5,
        LARGE..LARGE,
    ] {
        let got = harness
            .get("a", Some(range.start as u64..range.end as u64))
            .await
            .expect("get");
        assert!(got == bytes.slice(range.clone()), "bytes of {range:?}");
    }
}

/// Half an answer is none.
pub async fn a_range_outside_is_refused(harness: &Harness) {
    harness.put("a", "pangea").await;
    let backwards = Range { start: 4, end: 2 };
    for range in [0..7, 6..7, 100..200, u64::MAX - 1..u64::MAX, backwards] {
        let refused = harness.get("a", Some(range.clone())).await;
        assert!(
            matches!(refused, Err(BlobError::RangeOutside { len: 6, .. })),
            "{range:?}: {refused:?}"
        );
    }
}

/// The error says which object is missing, also below one that exists.
pub async fn a_missing_object_is_named(harness: &Harness) {
    harness.put("a", "pangea").await;
    for name in ["b", "b/c", "a/b"] {
        let missing = harness.get(name, None).await;
        assert!(
            matches!(&missing, Err(BlobError::NotFound { key: named }) if *named == key(name)),
            "{missing:?}"
        );
        assert_eq!(harness.head(name).await, None);
    }
}

/// What comes before an object in its path is not an object.
pub async fn a_directory_is_no_object(harness: &Harness) {
    harness.put("a/b", "pangea").await;
    assert_eq!(harness.head("a").await, None);
    let missing = harness.get("a", None).await;
    assert!(matches!(missing, Err(BlobError::NotFound { .. })));
}

/// Whatever the chunks it came in.
pub async fn an_upload_is_read_back(harness: &Harness) {
    let bytes = pattern(LARGE);
    let mut upload = harness.begin("a/b", &bytes).await;
    assert_eq!(upload.offset(), 0);
    for end in [1, 1, CHUNK_MAX, LARGE] {
        let start = offset(&*upload);
        write_all(&mut *upload, &bytes.slice(start..end)).await;
        assert_eq!(offset(&*upload), end);
    }
    upload.finish().await.expect("finish");
    assert!(harness.get("a/b", None).await.expect("get") == bytes);
}

/// Until it is finished, no one sees it.
pub async fn an_unfinished_upload_is_invisible(harness: &Harness) {
    let bytes = pattern(100);
    let mut upload = harness.begin("a", &bytes).await;
    write_all(&mut *upload, &bytes).await;
    assert_eq!(harness.head("a").await, None);
    assert_eq!(harness.store.list("").await.expect("list"), []);
    upload.finish().await.expect("finish");
    assert_eq!(harness.head("a").await, Some(100));
}

/// A broken connection costs what was in flight, not what had arrived.
pub async fn a_broken_upload_resumes_where_it_broke(harness: &Harness) {
    let bytes = pattern(LARGE);
    let broken_at = CHUNK_MAX + 77;
    let mut upload = harness.begin("a", &bytes).await;
    write_all(&mut *upload, &bytes.slice(..broken_at)).await;
    drop(upload);

    let mut upload = resume(harness, "a", &bytes, broken_at).await;
    write_all(&mut *upload, &bytes.slice(broken_at..)).await;
    upload.finish().await.expect("finish");
    assert!(harness.get("a", None).await.expect("get") == bytes);
}

/// A remote store may learn a moment later that the upload before was dropped.
async fn resume(harness: &Harness, name: &str, bytes: &Bytes, at: usize) -> Box<dyn Upload> {
    loop {
        let upload = harness.begin(name, bytes).await;
        if offset(&*upload) == at {
            return upload;
        }
        drop(upload);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Other bytes for the same key are another upload.
pub async fn an_upload_of_other_bytes_starts_anew(harness: &Harness) {
    let (first, second) = (pattern(100), pattern(101));
    let mut upload = harness.begin("a", &first).await;
    write_all(&mut *upload, &first.slice(..50)).await;
    drop(upload);
    assert_eq!(harness.begin("a", &second).await.offset(), 0);
    harness.upload("a", &second).await;
    harness.upload("a", &first).await;
    assert_eq!(harness.get("a", None).await.expect("get"), first);
}

/// Neither an object nor bytes that would poison the next try.
pub async fn a_wrong_digest_leaves_nothing_behind(harness: &Harness) {
    let (right, wrong) = (pattern(100), Bytes::from(vec![0; 100]));
    let mut upload = harness.begin("a", &right).await;
    write_all(&mut *upload, &wrong).await;
    match upload.finish().await {
        Err(BlobError::DigestMismatch {
            key: named,
            expected,
            actual,
        }) => {
            assert_eq!(named, key("a"));
            assert_eq!(expected, Digest::of(&right));
            assert_eq!(actual, Digest::of(&wrong));
        }
        other => panic!("wrong bytes were answered with {other:?}"),
    }
    assert_eq!(harness.head("a").await, None);
    assert_eq!(harness.begin("a", &right).await.offset(), 0);
    harness.upload("a", &right).await;
}

/// What is there stays as it was.
pub async fn a_failed_upload_does_not_harm_the_object_there(harness: &Harness) {
    harness.put("a", "pangea").await;
    let mut upload = harness.begin("a", &pattern(100)).await;
    write_all(&mut *upload, &Bytes::from(vec![0; 100])).await;
    upload.finish().await.expect_err("wrong bytes");
    assert_eq!(harness.get("a", None).await.expect("get"), "pangea");
}

/// The last byte matters.
pub async fn a_truncated_upload_cannot_finish(harness: &Harness) {
    let bytes = pattern(100);
    let mut upload = harness.begin("a", &bytes).await;
    write_all(&mut *upload, &bytes.slice(..99)).await;
    let refused = upload.finish().await;
    assert!(
        matches!(
            refused,
            Err(BlobError::WrongLength {
                expected: 100,
                actual: 99,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(harness.head("a").await, None);
}

/// More than was announced is refused, at the write or at the end.
pub async fn an_upload_cannot_outgrow_its_length(harness: &Harness) {
    let bytes = pattern(100);
    let mut upload = harness
        .store
        .upload(&key("a"), 99, &Digest::of(&bytes))
        .await
        .expect("begin an upload");
    let refused = match upload.write(bytes).await {
        Ok(()) => upload.finish().await,
        Err(refused) => Err(refused),
    };
    assert!(
        matches!(refused, Err(BlobError::WrongLength { expected: 99, .. })),
        "{refused:?}"
    );
    assert_eq!(harness.head("a").await, None);
}

/// A task that runs twice stores its result twice; the second time costs little or nothing.
pub async fn a_repeated_upload_is_welcome(harness: &Harness) {
    let bytes = pattern(1000);
    harness.upload("a", &bytes).await;
    harness.upload("a", &bytes).await;
    assert_eq!(harness.get("a", None).await.expect("get"), bytes);
}

/// Two workers, one result: neither spoils the other's.
pub async fn concurrent_uploads_of_one_content_both_finish(harness: &Harness) {
    let bytes = pattern(LARGE);
    let mut first = harness.begin("a", &bytes).await;
    write_all(&mut *first, &bytes.slice(..CHUNK_MAX)).await;
    let mut second = harness.begin("a", &bytes).await;
    let seen = offset(&*second);
    write_all(&mut *second, &bytes.slice(seen..LARGE / 2 + 1000)).await;
    write_all(&mut *first, &bytes.slice(CHUNK_MAX..)).await;
    first.finish().await.expect("finish the first");
    write_all(&mut *second, &bytes.slice(LARGE / 2 + 1000..)).await;
    second.finish().await.expect("finish the second");
    assert!(harness.get("a", None).await.expect("get") == bytes);
}

/// Nothing, written down, is something.
pub async fn an_empty_object_is_an_object(harness: &Harness) {
    harness.put("a", "").await;
    harness.upload("b", &Bytes::new()).await;
    for name in ["a", "b"] {
        assert_eq!(harness.head(name).await, Some(0));
        assert_eq!(harness.get(name, None).await.expect("get"), "");
        assert_eq!(harness.get(name, Some(0..0)).await.expect("get"), "");
    }
}

/// Prefixes are text: they may end within a segment.
pub async fn listing_goes_by_prefix(harness: &Harness) {
    for name in ["runs/2/a", "runs/1/b/c", "runs/1/a", "runs/10", "models/x"] {
        harness.put(name, "").await;
    }
    for (prefix, expected) in [
        ("runs/1/", &["runs/1/a", "runs/1/b/c"][..]),
        ("runs/1", &["runs/1/a", "runs/1/b/c", "runs/10"]),
        ("ru", &["runs/1/a", "runs/1/b/c", "runs/10", "runs/2/a"]),
        ("runs/1/b/c", &["runs/1/b/c"]),
        ("runs/1/b/c/", &[]),
        ("runs/3/", &[]),
        ("/", &[]),
    ] {
        let listed = harness.store.list(prefix).await.expect("list");
        let listed: Vec<&str> = listed.iter().map(Key::as_str).collect();
        assert_eq!(listed, expected, "under {prefix:?}");
    }
    assert_eq!(harness.store.list("").await.expect("list").len(), 5);
}

/// Deleted is deleted, and a second time is fine.
pub async fn deleting_twice_is_fine(harness: &Harness) {
    harness.put("a/b", "pangea").await;
    for _time in 0..2 {
        harness.store.delete(&key("a/b")).await.expect("delete");
        assert_eq!(harness.head("a/b").await, None);
    }
    harness.put("a/b", "again").await;
    assert_eq!(harness.get("a/b", None).await.expect("get"), "again");
}

/// A reference reads its part of an object and no other bytes.
pub async fn a_fetched_blob_is_verified(harness: &Harness) {
    let bytes = pattern(LARGE);
    harness.upload("a", &bytes).await;
    let part = bytes.slice(100..LARGE - 100);
    let blob = BlobRef {
        key: key("a"),
        offset: 100,
        len: part.len() as u64,
        digest: Digest::of(&part),
    };
    assert!(fetch(&*harness.store, &blob).await.expect("fetch") == part);

    let shifted = BlobRef {
        offset: 99,
        ..blob.clone()
    };
    let refused = fetch(&*harness.store, &shifted).await;
    assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })));

    let too_long = BlobRef {
        len: u64::MAX,
        ..blob
    };
    let refused = fetch(&*harness.store, &too_long).await;
    assert!(matches!(refused, Err(BlobError::RangeOutside { .. })));
}

/// One `#[tokio::test]` per check; see [`contract`](crate::contract).
#[doc(hidden)]
#[macro_export]
macro_rules! __check_blob_store {
    ($make:expr) => {
        $crate::__check_blob_store! { $make =>
            what_was_put_is_got
            a_put_replaces
            a_range_gives_exactly_its_bytes
            a_range_outside_is_refused
            a_missing_object_is_named
            a_directory_is_no_object
            an_upload_is_read_back
            an_unfinished_upload_is_invisible
            a_broken_upload_resumes_where_it_broke
            an_upload_of_other_bytes_starts_anew
            a_wrong_digest_leaves_nothing_behind
            a_failed_upload_does_not_harm_the_object_there
            a_truncated_upload_cannot_finish
            an_upload_cannot_outgrow_its_length
            a_repeated_upload_is_welcome
            concurrent_uploads_of_one_content_both_finish
            an_empty_object_is_an_object
            listing_goes_by_prefix
            deleting_twice_is_fine
            a_fetched_blob_is_verified
        }
    };
    ($make:expr => $($check:ident)+) => {
        $(
            #[tokio::test]
            async fn $check() {
                let harness: Option<$crate::contract::Harness> = $make.await.into();
                if let Some(harness) = harness {
                    $crate::contract::within_a_minute($crate::contract::$check(&harness)).await;
                }
            }
        )+
    };
}
