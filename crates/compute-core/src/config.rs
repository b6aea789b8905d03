//! Settings of compute-core: a TOML file, then the environment.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use proto::transport::IDLE_TIMEOUT;
use serde::{Deserialize, Serialize};
use telemetry::config::{ConfigError, GrpcConfig, HttpConfig, LogConfig, check};

/// A thousand gibibytes: more than a machine has, and its bytes fit a `usize`.
const CACHE_MIB_MAX: usize = 1_024_000;

/// Every setting of compute-core.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a connection may be silent, 1 s to 1 h, before it is taken for lost. Transfers that
    /// advance are not silent, however slow they are.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Where calls come in.
    pub grpc: GrpcConfig,
    /// Where `/health`, `/ready` and `/metrics` answer.
    pub http: HttpConfig,
    /// How work is shared among the cores.
    pub engine: EngineConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// How work is shared among the cores.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Threads of one training, 1 to 256. Changes the speed, never the result.
    pub threads: NonZeroUsize,
    /// Trainings and evaluations at once, from 1; others wait. As many as there are cores by
    /// default.
    pub concurrency: NonZeroUsize,
    /// Parameters and examples kept between calls, in MiB, 1 to 1,024,000. What is computed at
    /// the same time must fit.
    pub cache_mib: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            idle_timeout: IDLE_TIMEOUT,
            grpc: GrpcConfig::on_port(50053),
            http: HttpConfig::on_port(9091),
            engine: EngineConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            threads: NonZeroUsize::MIN,
            concurrency: cores,
            cache_mib: 1024,
        }
    }
}

impl Config {
    /// The settings in `file`, under those in the environment: `PANGEA_COMPUTE_CORE__GRPC__LISTEN`
    /// and so on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file or variable, the key, and what would be accepted.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let config: Self = telemetry::config::load(file, "PANGEA_COMPUTE_CORE__")?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let engine = &self.engine;
        let silence = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
        check("idle_timeout", &self.idle_timeout, silence)?;
        check("engine.threads", &engine.threads.get(), 1..=256)?;
        check("engine.cache_mib", &engine.cache_mib, 1..=CACHE_MIB_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../config/compute-core.toml");
        let problems =
            telemetry::config::sample::problems::<Config>(sample, &["engine.concurrency"]);
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn a_cache_that_holds_nothing_is_refused() {
        let mut config = Config::default();
        assert!(config.check().is_ok());
        config.engine.cache_mib = 0;
        let told = config.check().unwrap_err().to_string();
        assert!(told.starts_with("engine.cache_mib is 0"), "{told}");
    }
}
