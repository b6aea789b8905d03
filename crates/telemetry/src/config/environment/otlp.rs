//! Where traces and logs go, as the variables of OpenTelemetry say it.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::variables::{Variables, pairs};

/// Records that wait at most, as OpenTelemetry has it: some seconds of a busy service.
const QUEUE: usize = 2_048;
/// Records in one request at most, as OpenTelemetry has it.
const BATCH: usize = 512;
/// How long a record waits for others at most, as OpenTelemetry has it.
const DELAY_MS: u64 = 5_000;
/// How long one request may take, as OpenTelemetry has it.
const TIMEOUT_MS: u64 = 10_000;

/// Where traces and logs go, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct Otlp {
    /// A URL with `http` or `https`, and a host.
    pub endpoint: String,
    /// What each request carries besides (`OTEL_EXPORTER_OTLP_HEADERS`), such as a key.
    pub headers: Vec<(String, String)>,
    /// How long one request may take (`OTEL_EXPORTER_OTLP_TIMEOUT`, in milliseconds).
    pub timeout: Duration,
    /// Records that wait at most (`OTEL_BSP_MAX_QUEUE_SIZE`), of each kind.
    pub queue: usize,
    /// Records in one request at most (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub batch: usize,
    /// How long a record waits for others at most (`OTEL_BSP_SCHEDULE_DELAY`, in milliseconds).
    pub delay: Duration,
}

impl fmt::Debug for Otlp {
    /// Without the headers, which hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp")
            .field("endpoint", &self.endpoint)
            .field("timeout", &self.timeout)
            .field("queue", &self.queue)
            .field("batch", &self.batch)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

/// Which signals an endpoint was named for.
pub(super) struct Destined {
    pub(super) traces: bool,
    pub(super) logs: bool,
}

pub(super) fn read(variables: &mut Variables<'_>) -> (Option<Otlp>, Destined) {
    let both = endpoint(variables, "OTEL_EXPORTER_OTLP_ENDPOINT");
    let traces = endpoint(variables, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(both.clone());
    let logs = endpoint(variables, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT").or(both);
    // One connection carries both.
    if let (Some(traces), Some(logs)) = (&traces, &logs)
        && traces != logs
    {
        let accepted = format!("{traces}, where traces go and logs go too");
        variables.refuse("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", logs, accepted);
    }
    let destined = Destined {
        traces: traces.is_some(),
        logs: logs.is_some(),
    };
    variables.read("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", |text| {
        (text == "grpc").then_some(())
    });
    let queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE, 1..=1_000_000);
    let batch = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH, 1..=100_000);
    let delay = variables.number("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS, 1..=600_000);
    let timeout = variables.number("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT_MS, 1..=600_000);
    let headers = headers(variables);
    let otlp = traces.or(logs).map(|endpoint| Otlp {
        endpoint,
        headers,
        timeout: Duration::from_millis(timeout),
        queue,
        // More than wait at most are never together.
        batch: batch.min(queue),
        delay: Duration::from_millis(delay),
    });
    (otlp, destined)
}

fn endpoint(variables: &mut Variables<'_>, name: &'static str) -> Option<String> {
    let value = variables.text(name)?;
    let is_one = value.parse::<Uri>().is_ok_and(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        // A user in it would be sent nowhere and printed everywhere.
        let user = uri.authority().is_some_and(|it| it.as_str().contains('@'));
        scheme && uri.host().is_some_and(|host| !host.is_empty()) && !user
    });
    if is_one {
        return Some(value);
    }
    let without_scheme = !value.contains("://") && !value.contains('@');
    let likely = format!("http://{value}");
    let accepted = match likely.parse::<Uri>() {
        Ok(_) if without_scheme => format!("a URL with its scheme: write {likely}"),
        _ => "a URL such as http://localhost:4317 or https://collector.example:4317".to_owned(),
    };
    variables.refuse(name, &value, accepted);
    None
}

fn headers(variables: &mut Variables<'_>) -> Vec<(String, String)> {
    let accepted = "key=value,key=value with the names and values of headers";
    let read = |text: &str| pairs(text)?.iter().map(header).collect();
    let headers = variables.read("OTEL_EXPORTER_OTLP_HEADERS", accepted, read);
    headers.unwrap_or_default()
}

/// Lowercase, as gRPC has them, and in text: a name that ends in `-bin` would be bytes.
fn header((name, value): &(String, String)) -> Option<(String, String)> {
    let name = HeaderName::try_from(name.as_str()).ok()?;
    HeaderValue::try_from(value.as_str()).ok()?;
    let is_text = !name.as_str().ends_with("-bin") && value.is_ascii();
    is_text.then(|| (name.as_str().to_owned(), value.clone()))
}
