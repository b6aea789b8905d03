//! Settings of a training-worker: a TOML file, then the environment.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use proto::transport::IDLE_TIMEOUT;
use serde::{Deserialize, Serialize};
use telemetry::config::{ConfigError, HttpConfig, LogConfig, check};

const HOUR: Duration = Duration::from_secs(60 * 60);

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
    /// How long a connection may be silent, 1 s to 1 h, before it is taken for lost. Transfers that
    /// advance are not silent, however slow they are. A training that takes no step for as long is
    /// given back.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Where `/health`, `/ready` and `/metrics` answer.
    pub http: HttpConfig,
    /// How long tasks stay with this worker.
    pub lease: LeaseConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// How long tasks stay with this worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// How long one delivery hides a task from other workers, 1 s to 12 h. Extended at half time
    /// while training runs; after a crash, another worker gets the task when it has run out.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// How long one wait for a task lasts, 0 s to 5 min.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// How long a worker that was told to stop may finish its task before giving it back, 0 s to
    /// 1 h.
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
            idle_timeout: IDLE_TIMEOUT,
            http: HttpConfig::on_port(8081),
            lease: LeaseConfig::default(),
            log: LogConfig::default(),
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
        let config: Self = telemetry::config::load(file, "PANGEA_TRAINING_WORKER__")?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let lease = &self.lease;
        check("slots", &self.slots.get(), 1..=1024)?;
        check(
            "idle_timeout",
            &self.idle_timeout,
            Duration::from_secs(1)..=HOUR,
        )?;
        check("lease.ttl", &lease.ttl, Duration::from_secs(1)..=12 * HOUR)?;
        check("lease.wait", &lease.wait, Duration::ZERO..=HOUR / 12)?;
        check("lease.drain", &lease.drain, Duration::ZERO..=HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../config/training-worker.toml");
        let problems = telemetry::config::sample::problems::<Config>(sample, &[]);
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn a_lease_that_ends_before_it_can_be_extended_is_refused() {
        let mut config = Config::default();
        assert!(config.check().is_ok());
        config.lease.ttl = Duration::from_millis(1);
        let told = config.check().unwrap_err().to_string();
        assert_eq!(told, "lease.ttl is 1ms; must be 1s to 43200s");
    }
}
