//! Objects in a bucket of S3, or of what speaks like it.
//!
//! An [`S3Store`] has whole objects: it sends bytes that are all here, and says where an object
//! stands. It is no [`BlobStore`](crate::BlobStore): a digest is known to be right only when all
//! bytes have been seen, and parts that S3 has cannot be read before they are an object, so an
//! upload that breaks could be resumed only by trusting what arrived before. Whoever needs uploads
//! from afar has an [`ArtifactStore`](crate::ArtifactStore), whose uploads arrive in a directory.
//!
//! Each object carries its digest as metadata, which S3 hands back with a look at it; each request
//! with bytes carries a CRC32, which S3 verifies. A transfer has no time limit: it goes up and down
//! in pieces, and a piece ends when nothing moves, or less than [`SLOWEST`].

mod conditional;
mod failure;
mod listing;
mod multipart;
mod open;
mod put;
mod read;
#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_types::SdkConfig;
use federation::Digest;
use seams::Seams;

pub use conditional::{Expected, Swapped};
pub use open::S3OpenError;

use crate::metrics::Meter;
use crate::{Key, Metrics};

/// Largest piece that goes up or down in one request: 8 MiB. Smaller objects are put with one
/// request. Parts of less than 5 MiB are refused, and more than 10,000 of them, so parts of objects
/// beyond 78 GiB are larger: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
const PIECE: u64 = 8 * 1024 * 1024;

/// Pieces of one transfer under way at the same time; so a transfer takes up to 40 MiB.
const AT_ONCE: usize = 4;

/// How long S3 may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long S3 may take to answer, beyond what the bytes of a request need.
const ANSWER: Duration = Duration::from_secs(15);

/// Bytes a second: a request that moves fewer is given up, and sent again. Four of them share a link
/// of 256 kbit/s; a higher bound would fail transfers that do advance.
const SLOWEST: u64 = 8 * 1024;

/// How long nothing may move within a request.
const STALLED: Duration = Duration::from_secs(20);

/// Where an object's metadata has its digest.
const DIGEST: &str = "digest";

/// Guards the bytes on their way; S3 verifies it. After a body that is streamed, LocalStack 4.12
/// refuses CRC32C, whose header it takes for that of CRC32 too.
const CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

/// Where objects stand on S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Place {
    /// The bucket.
    pub bucket: String,
    /// What the names of all objects begin with, so that others can use the bucket too. A slash
    /// comes after it, unless it is empty.
    pub prefix: String,
    /// Whether the bucket's name stands in the path instead of the host, as LocalStack needs it.
    pub path_style: bool,
    /// The storage class of what is put; the bucket's default, when there is none.
    pub storage_class: Option<String>,
    /// The key of KMS that encrypts what is put; the bucket's default, when there is none.
    pub kms_key: Option<String>,
    /// Whether to make the bucket where it is missing, as on a laptop.
    pub create: bool,
}

/// One version of an object: S3's entity tag, or in a local directory the digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub(crate) String);

/// What a look at an object tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its length in bytes.
    pub len: u64,
    /// Which version of it was looked at.
    pub version: Version,
    /// Its digest; none, when it was put by something else.
    pub digest: Option<Digest>,
}

/// Objects in a bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    place: Arc<S3Place>,
    /// Who is asked, for messages.
    endpoint: Arc<str>,
    meter: Meter,
}

impl S3Store {
    fn new(aws: &SdkConfig, place: S3Place) -> Self {
        let prefix = match place.prefix.trim_matches('/') {
            "" => String::new(),
            name => format!("{name}/"),
        };
        let retries = aws.retry_config().cloned();
        let config = Builder::from(aws)
            .force_path_style(place.path_style)
            .retry_config(retries.unwrap_or_else(RetryConfig::standard))
            .timeout_config(timeouts(0))
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled()
                    .grace_period(STALLED)
                    .build(),
            )
            .build();
        Self {
            client: Client::from_conf(config),
            place: Arc::new(S3Place { prefix, ..place }),
            endpoint: aws.endpoint_url().unwrap_or("AWS").into(),
            meter: Meter::default(),
        }
    }

    /// The same store, with all that it does counted from now on.
    #[must_use]
    pub fn counted(self, metrics: Metrics) -> Self {
        Self {
            meter: self.meter.counted(metrics, "s3"),
            ..self
        }
    }

    /// The same store, with all that it does passing through `seams` from now on.
    #[must_use]
    pub fn through(self, seams: Seams) -> Self {
        Self {
            meter: self.meter.through(seams),
            ..self
        }
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    fn bucket(&self) -> &str {
        &self.place.bucket
    }

    /// How the bucket names the object of `key`.
    fn object(&self, key: &Key) -> String {
        format!("{}{key}", self.place.prefix)
    }

    /// Whose object it is; none, when something else put it there.
    fn key(&self, object: &str) -> Option<Key> {
        object.strip_prefix(&self.place.prefix)?.parse().ok()
    }
}

/// Gives a request the time that `bytes` need.
fn patience(bytes: u64) -> Builder {
    Builder::new().timeout_config(timeouts(bytes))
}

/// The time of one attempt, up to the beginning of its answer.
fn timeouts(bytes: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ANSWER + Duration::from_secs(bytes / SLOWEST))
        .build()
}

/// The version that an answer names.
fn version(tag: Option<&str>) -> Version {
    Version(tag.unwrap_or_default().to_owned())
}

fn digest(metadata: Option<&std::collections::HashMap<String, String>>) -> Option<Digest> {
    Digest::from_str(metadata?.get(DIGEST)?).ok()
}
