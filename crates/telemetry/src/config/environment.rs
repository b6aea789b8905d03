//! What the environment says about telemetry. No other file reads these variables.
//!
//! A value that cannot be read is a [`Problem`], told once, and the default is used: a service does
//! not stay away because nobody can watch it. An empty variable is one that is not set.

mod otlp;
mod problem;
mod variables;

use std::fmt;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::trace::{InvalidSampler, Sampler};
use variables::{Variables, pairs};

pub use otlp::Otlp;
pub use problem::Problem;

/// Variables whose values nobody should read in an error report.
const SECRETS: [&str; 6] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DD_API_KEY",
    "NEW_RELIC_LICENSE_KEY",
    "SENTRY_DSN",
    "OTEL_EXPORTER_OTLP_HEADERS",
];

/// What the environment says about telemetry, in the words that everybody uses.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a variable of its own"
)]
#[derive(Clone)]
pub struct Environment {
    /// Where traces and logs go (`OTEL_EXPORTER_OTLP_ENDPOINT`); nothing leaves without one.
    pub otlp: Option<Otlp>,
    /// Whether traces go there (`OTEL_TRACES_EXPORTER` is not `none`).
    pub traces: bool,
    /// Whether logs go there (`OTEL_LOGS_EXPORTER` is not `none`).
    pub logs: bool,
    /// Which traces are kept (`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`).
    pub sampler: Sampler,
    /// What the process is called (`OTEL_SERVICE_NAME`), where it is a single service.
    pub service_name: Option<String>,
    /// What else is known of the process (`OTEL_RESOURCE_ATTRIBUTES`).
    pub resource: Vec<(String, String)>,
    /// Which events are logged (`RUST_LOG`, else `LOG_LEVEL`); the configuration's filter if none.
    pub filter: Option<String>,
    /// Where log files are written (`LOG_DIR`).
    pub log_dir: Option<PathBuf>,
    /// Where errors go (`SENTRY_DSN`).
    pub sentry: Option<Sentry>,
    /// Whether a collector has the key of Datadog (`DD_API_KEY`).
    pub datadog: bool,
    /// Whether a collector has the key of New Relic (`NEW_RELIC_LICENSE_KEY`).
    pub new_relic: bool,
    /// Values that must not appear in a report.
    pub secrets: Vec<String>,
    /// Whether metrics are shown (`PROMETHEUS_ENABLED`).
    pub prometheus_enabled: bool,
    /// A port of their own for metrics (`PROMETHEUS_PORT`).
    pub prometheus_port: Option<u16>,
    /// Whether this is where work is done that matters (`APP_ENV=production`).
    pub is_production: bool,
    /// What could not be read. The default is used instead.
    pub problems: Vec<Problem>,
}

/// Where errors go, and what they may tell.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentry {
    /// The project, with its key.
    pub dsn: String,
    /// Whether an error may tell who was concerned (`SENTRY_SEND_DEFAULT_PII`).
    pub send_default_pii: bool,
    /// Which installation this is (`SENTRY_ENVIRONMENT`, else `APP_ENV`).
    pub environment: Option<String>,
}

impl Environment {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::read(|name| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads what OpenTelemetry, Sentry and others agreed on"
            )]
            let value = std::env::var(name);
            match value {
                Ok(value) => Some(value),
                Err(std::env::VarError::NotPresent) => None,
                // What is left of it is no value of any variable but a path, and is told as such.
                Err(std::env::VarError::NotUnicode(value)) => {
                    Some(value.to_string_lossy().into_owned())
                }
            }
        })
    }

    /// Of the variables that `variable` knows.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut variables = Variables::new(&variable);
        let (otlp, destined) = otlp::read(&mut variables);
        let (service_name, resource) = resource(&mut variables);
        Self {
            traces: exported(&mut variables, "OTEL_TRACES_EXPORTER") && destined.traces,
            logs: exported(&mut variables, "OTEL_LOGS_EXPORTER") && destined.logs,
            otlp,
            sampler: sampler(&mut variables),
            service_name,
            resource,
            filter: filter(&mut variables),
            log_dir: variables.text("LOG_DIR").map(PathBuf::from),
            sentry: sentry(&mut variables),
            datadog: variables.text("DD_API_KEY").is_some(),
            new_relic: variables.text("NEW_RELIC_LICENSE_KEY").is_some(),
            secrets: secrets(&variables),
            prometheus_enabled: variables.switch("PROMETHEUS_ENABLED", true),
            prometheus_port: variables.read("PROMETHEUS_PORT", "a port, 0 to 65535", |text| {
                text.parse().ok()
            }),
            is_production: variables.text("APP_ENV").as_deref() == Some("production"),
            problems: variables.into_problems(),
        }
    }
}

impl fmt::Debug for Environment {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("otlp", &self.otlp)
            .field("sampler", &self.sampler)
            .field("service_name", &self.service_name)
            .field("filter", &self.filter)
            .field("sentry", &self.sentry)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sentry {
    /// Without the project and its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentry")
            .field("send_default_pii", &self.send_default_pii)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

fn exported(variables: &mut Variables<'_>, name: &'static str) -> bool {
    let exporter = variables.read(name, "otlp or none", |text| match text {
        "otlp" => Some(true),
        "none" => Some(false),
        _ => None,
    });
    exporter.unwrap_or(true)
}

fn sampler(variables: &mut Variables<'_>) -> Sampler {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(name) = variables.text(NAME) else {
        return Sampler::all();
    };
    let argument = variables.text(ARGUMENT);
    match Sampler::named(&name, argument.as_deref()) {
        Ok(sampler) => sampler,
        Err(InvalidSampler::Name { name }) => {
            let accepted = "always_on, always_off, traceidratio, parentbased_always_on, \
                            parentbased_always_off or parentbased_traceidratio";
            variables.refuse(NAME, &name, accepted);
            Sampler::all()
        }
        Err(InvalidSampler::Ratio { ratio }) => {
            variables.refuse(ARGUMENT, &ratio, "a number from 0 to 1");
            Sampler::all()
        }
    }
}

/// The name, and the rest of what is known of the process.
fn resource(variables: &mut Variables<'_>) -> (Option<String>, Vec<(String, String)>) {
    let read = variables.read("OTEL_RESOURCE_ATTRIBUTES", "key=value,key=value", pairs);
    let mut attributes = read.unwrap_or_default();
    let mut name = variables.text("OTEL_SERVICE_NAME");
    attributes.retain(|(key, value)| {
        let is_name = key == "service.name";
        if is_name && name.is_none() {
            name = Some(value.clone());
        }
        !is_name
    });
    (name, attributes)
}

fn filter(variables: &mut Variables<'_>) -> Option<String> {
    let accepted = "a filter such as info or info,orchestrator=debug";
    let wanted = variables.read("RUST_LOG", accepted, |text| {
        EnvFilter::try_new(text).is_ok().then(|| text.to_owned())
    });
    let levels = "trace, debug, info, warn, warning or error";
    let level = variables.read("LOG_LEVEL", levels, |text| {
        let level = match text.to_ascii_lowercase().as_str() {
            "trace" => "trace",
            "debug" => "debug",
            "info" => "info",
            "warn" | "warning" => "warn",
            "error" => "error",
            _ => return None,
        };
        Some(level.to_owned())
    });
    wanted.or(level)
}

fn sentry(variables: &mut Variables<'_>) -> Option<Sentry> {
    let accepted = "a DSN, https://KEY@HOST/PROJECT";
    let dsn = variables.read("SENTRY_DSN", accepted, |text| {
        let is_one = text.parse::<sentry::types::Dsn>().is_ok();
        is_one.then(|| text.to_owned())
    });
    let send_default_pii = variables.switch("SENTRY_SEND_DEFAULT_PII", false);
    let environment = variables.text("SENTRY_ENVIRONMENT");
    let environment = environment.or_else(|| variables.text("APP_ENV"));
    Some(Sentry {
        dsn: dsn?,
        send_default_pii,
        environment,
    })
}

/// Of the headers, the values alone; as they were written and as they are sent.
fn secrets(variables: &Variables<'_>) -> Vec<String> {
    let mut secrets: Vec<_> = SECRETS
        .into_iter()
        .filter_map(|name| variables.text(name))
        .collect();
    let headers = variables.text("OTEL_EXPORTER_OTLP_HEADERS");
    let headers = headers.and_then(|text| pairs(&text)).unwrap_or_default();
    secrets.extend(headers.into_iter().map(|(_, value)| value));
    secrets
}

#[cfg(test)]
mod tests;
