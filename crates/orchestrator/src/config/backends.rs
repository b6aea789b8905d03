//! Where facts, bytes and tasks are kept: in the data directory unless told otherwise.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the facts of runs are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; empty for a file in the data directory.
    pub url: String,
    /// How long, 1 s to 10 min, an orchestrator leads that no longer says so, before another one at
    /// the same PostgreSQL takes over.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

/// Where data sets, updates, checkpoints and models are kept.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ArtifactsConfig {
    /// A bucket of S3, which the data directory then stands before; empty for the data directory
    /// alone.
    pub bucket: String,
    /// What every key in the bucket begins with.
    pub prefix: String,
    /// Whether the bucket is named in the path instead of the host, as LocalStack and most servers
    /// that are not Amazon's have it.
    pub path_style: bool,
    /// Such as `STANDARD_IA`; empty for the bucket's own.
    pub storage_class: String,
    /// The KMS key that objects are encrypted with; empty for the bucket's own way.
    pub kms_key: String,
    /// Whether a bucket that is not there is made.
    pub create: bool,
    /// GiB that artifacts may take; 0 for any number.
    pub budget_gib: u64,
}

/// Where tasks wait for workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// A queue of SQS, which has another one beside it that is called so with `-dead`; empty for
    /// one in the orchestrator's memory, which is filled again when it starts.
    pub name: String,
    /// Deliveries of a task that nobody finished before it counts as failed.
    pub max_deliveries: NonZeroU32,
    /// Whether queues that are not there are made.
    pub create: bool,
}

/// How Amazon's services, or what stands for them, are reached. What is empty is taken from where
/// the AWS command line takes it: `AWS_ENDPOINT_URL`, `AWS_REGION`, `~/.aws/config`. Credentials come
/// from there alone.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct AwsConfig {
    /// Such as `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// Such as `eu-west-2`.
    pub region: String,
    /// Whether the credentials that only LocalStack takes are refused.
    #[serde(skip)]
    pub refuses_trials: bool,
}

impl ArtifactsConfig {
    /// Bytes that artifacts may take, if that is bounded.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        (self.budget_gib > 0).then(|| self.budget_gib.saturating_mul(1024 * 1024 * 1024))
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            lease: Duration::from_secs(10),
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            max_deliveries: NonZeroU32::MIN.saturating_add(9),
            create: false,
        }
    }
}
