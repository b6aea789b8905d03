//! Settings of the orchestrator: a TOML file, then the environment.

mod backends;

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use proto::transport::IDLE_TIMEOUT;
use serde::{Deserialize, Serialize};
use telemetry::config::{ConfigError, GrpcConfig, HttpConfig, LogConfig, check};

pub use backends::{ArtifactsConfig, AwsConfig, QueueConfig, StoreConfig};

/// Every setting of the orchestrator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything that must not be lost lies. One orchestrator at a time.
    pub data_dir: PathBuf,
    /// The compute-core that makes initial models and evaluates: `host:port` or `unix:/path`.
    pub compute: String,
    /// How long a connection may be silent, 1 s to 1 h, before it is taken for lost. Transfers that
    /// advance are not silent, however slow they are.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Where calls come in.
    pub grpc: GrpcConfig,
    /// Where `/health`, `/ready` and `/metrics` answer.
    pub http: HttpConfig,
    /// How runs are worked on.
    pub runs: RunsConfig,
    /// What is expected of workers.
    pub workers: WorkersConfig,
    /// Where the facts of runs are kept.
    pub store: StoreConfig,
    /// Where data sets, updates, checkpoints and models are kept.
    pub artifacts: ArtifactsConfig,
    /// Where tasks wait for workers.
    pub queue: QueueConfig,
    /// How Amazon's services are reached.
    pub aws: AwsConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// How runs are worked on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunsConfig {
    /// Runs in work at once; later ones wait as pending.
    pub concurrent: NonZeroU32,
    /// How often a run is looked at when nothing wakes it, 10 ms to 1 h. Events wake it at once;
    /// this only notices deadlines, and repairs what a lost event left.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Rounds after whose commit the updates are deleted.
    pub keep_rounds: u32,
    /// Threads of an aggregation. Changes the speed, never the result.
    pub threads: NonZeroUsize,
}

/// What is expected of workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkersConfig {
    /// How often a worker should be heard of, 10 ms to 1 h; after three silent ones it is suspect.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            compute: "127.0.0.1:50053".to_owned(),
            idle_timeout: IDLE_TIMEOUT,
            grpc: GrpcConfig::on_port(50051),
            http: HttpConfig::on_port(8080),
            runs: RunsConfig::default(),
            workers: WorkersConfig::default(),
            store: StoreConfig::default(),
            artifacts: ArtifactsConfig::default(),
            queue: QueueConfig::default(),
            aws: AwsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for RunsConfig {
    fn default() -> Self {
        Self {
            concurrent: NonZeroU32::MIN.saturating_add(19),
            interval: Duration::from_secs(1),
            keep_rounds: 3,
            threads: available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
        }
    }
}

impl Config {
    /// The settings in `file`, under those in the environment:
    /// `PANGEA_ORCHESTRATOR__GRPC__LISTEN` and so on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file or variable, the key, and what would be accepted.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let config: Self = telemetry::config::load(file, "PANGEA_ORCHESTRATOR__")?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let pace = Duration::from_millis(10)..=Duration::from_secs(60 * 60);
        check("runs.interval", &self.runs.interval, pace.clone())?;
        check("workers.heartbeat", &self.workers.heartbeat, pace)?;
        let silence = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
        check("idle_timeout", &self.idle_timeout, silence)?;
        let lease = Duration::from_secs(1)..=Duration::from_secs(10 * 60);
        check("store.lease", &self.store.lease, lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../config/orchestrator.toml");
        let problems = telemetry::config::sample::problems::<Config>(sample, &["runs.threads"]);
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn a_pace_of_nothing_is_refused() {
        let mut config = Config::default();
        assert!(config.check().is_ok());
        config.runs.interval = Duration::ZERO;
        let told = config.check().unwrap_err().to_string();
        assert!(told.starts_with("runs.interval is 0ns"), "{told}");
    }
}
