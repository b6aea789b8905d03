//! How every service reads its settings: defaults, then a TOML file, then the environment.

pub mod environment;
pub mod sample;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use figment::providers::{Env, Format, Serialized, Toml};
use figment::util::nest;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::logs::LogFormat;

/// Where calls come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A Unix socket for callers on this host; none when empty.
    pub unix_socket: PathBuf,
}

/// Where operators look.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl GrpcConfig {
    /// On this port of this host alone.
    #[must_use]
    pub fn on_port(port: u16) -> Self {
        Self {
            listen: local(port),
            unix_socket: PathBuf::new(),
        }
    }
}

impl HttpConfig {
    /// On this port of this host alone.
    #[must_use]
    pub fn on_port(port: u16) -> Self {
        Self {
            listen: local(port),
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Which lines, as `RUST_LOG` would say it; `RUST_LOG` itself wins.
    pub filter: String,
    /// `text`, `json`, or `auto`: text on a terminal, JSON elsewhere.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// Settings that cannot be used. The message names the source and the key.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("config file {} does not exist", path.display())]
    Missing {
        /// Which one.
        path: PathBuf,
    },
    /// A key is unknown or a value is wrong.
    #[error(transparent)]
    Invalid(#[from] Box<figment::Error>),
    /// A value is of the right kind and not in its range.
    #[error("{key} is {value}; must be {accepted}")]
    OutOfRange {
        /// Which key.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
}

/// The settings in `file`, under those in variables that begin with `prefix`; `__` stands between
/// the parts of a key.
///
/// # Errors
///
/// [`ConfigError`].
pub fn load<C>(file: Option<&Path>, prefix: &str) -> Result<C, ConfigError>
where
    C: Default + Serialize + DeserializeOwned,
{
    let mut settings = Figment::from(Serialized::defaults(C::default()));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(ConfigError::Missing {
                path: path.to_owned(),
            });
        }
        settings = settings.merge(Toml::file_exact(path));
    }
    let variables = Env::prefixed(prefix).split("__");
    let settings = variables.iter().fold(settings, |settings, (key, text)| {
        let value = nest(key.as_str(), Value::from(text));
        let source = variables.metadata();
        settings.merge(Variable { source, value })
    });
    Ok(settings.extract_lossy().map_err(Box::new)?)
}

/// A variable as a text, and not as what it looks like: a name may have digits alone.
struct Variable {
    source: Metadata,
    value: Value,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        self.source.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.value.clone().into_dict().unwrap_or_default()))
    }
}

/// Refuses a value that is not in `range`.
///
/// # Errors
///
/// [`ConfigError::OutOfRange`].
pub fn check<T: PartialOrd + Debug>(
    key: &'static str,
    value: &T,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if range.contains(value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(ConfigError::OutOfRange {
        key,
        value: format!("{value:?}"),
        accepted: format!("{least:?} to {most:?}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        port: u16,
        log: LogConfig,
    }

    fn written(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn refused(text: &str) -> String {
        let file = written(text);
        load::<Settings>(Some(file.path()), "PANGEA_TEST_NONE__")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_file_overrides_defaults() {
        let file = written("port = 7\n[log]\nfilter = \"debug\"\n");
        let settings: Settings = load(Some(file.path()), "PANGEA_TEST_NONE__").unwrap();
        assert_eq!((settings.port, settings.log.filter.as_str()), (7, "debug"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_known_ones() {
        let message = refused("prot = 7\n");
        assert!(
            message.contains("prot") && message.contains("port"),
            "{message}"
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_key_and_file() {
        let message = refused("port = \"seven\"\n");
        assert!(
            message.contains("port") && message.contains(".tmp"),
            "{message}"
        );
    }

    #[test]
    fn a_value_out_of_range_is_told_with_what_would_be_accepted() {
        let range = Duration::from_millis(10)..=Duration::from_secs(60);
        assert!(check("interval", &Duration::from_millis(10), range.clone()).is_ok());
        let error = check("interval", &Duration::ZERO, range).unwrap_err();
        assert_eq!(error.to_string(), "interval is 0ns; must be 10ms to 60s");
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = Path::new("/nowhere/pangea.toml");
        let error = load::<Settings>(Some(path), "PANGEA_TEST_NONE__").unwrap_err();
        assert!(error.to_string().contains("/nowhere/pangea.toml"));
    }
}
