//! Settings of a training-worker: a TOML file, then the environment.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry::config::{ConfigError, LogConfig};

/// Every setting of a training-worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the worker is called; a random name when empty.
    pub id: String,
    /// The orchestrator: `host:port` or `unix:/path`. All that a worker must know.
    pub orchestrator: String,
    /// The compute-core: `host:port` or `unix:/path`.
    pub compute: String,
    /// Tasks at once, 1 to 1024.
    pub slots: NonZeroU32,
    /// Where `/health`, `/ready` and `/metrics` answer.
    pub http: HttpConfig,
    /// How long tasks stay with this worker.
    pub lease: LeaseConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// Where operators look.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// How long tasks stay with this worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// How long one delivery hides a task from other workers, 1 s to 12 h. Extended at half time
    /// while training runs; after a crash, another worker gets the task when it has run out.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// How long one wait for a task lasts, up to 5 min.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// How long a worker that was told to stop may finish its task before giving it back.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: String::new(),
            orchestrator: "127.0.0.1:50051".to_owned(),
            compute: "127.0.0.1:50053".to_owned(),
            slots: NonZeroU32::MIN,
            http: HttpConfig::default(),
            lease: LeaseConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
        }
    }
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            wait: Duration::from_secs(20),
            drain: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The settings in `file`, under those in the environment:
    /// `PANGEA_TRAINING_WORKER__ORCHESTRATOR` and so on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file or variable, the key, and what would be accepted.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        telemetry::config::load(file, "PANGEA_TRAINING_WORKER__")
    }
}
