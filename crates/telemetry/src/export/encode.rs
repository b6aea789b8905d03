//! Records in the words of OTLP.
//!
//! # Source
//!
//! OpenTelemetry protocol 1.x, <https://opentelemetry.io/docs/specs/otlp/>.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1 as otlp_logs;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tracing::Level;

use super::resource::Resource;
use crate::logs::LogRecord;
use crate::metrics::VERSION;
use crate::trace::{Kind, Link, SpanRecord, Value};

/// The bit of a span's flags that says that the next one means something.
const TELLS_REMOTE: u32 = 0x100;
/// The bit that says that the parent is in another service.
const PARENT_IS_REMOTE: u32 = 0x200;

/// The spans of each service under its own name.
pub(super) fn spans(records: &[SpanRecord], resource: &Resource) -> ExportTraceServiceRequest {
    let groups = by_service(records, |record| record.service, span);
    let resource_spans = groups.into_iter().map(|(service, spans)| {
        let scope_spans = otlp::ScopeSpans {
            scope: Some(scope()),
            spans,
            schema_url: String::new(),
        };
        otlp::ResourceSpans {
            resource: Some(resource.of(service)),
            scope_spans: vec![scope_spans],
            schema_url: String::new(),
        }
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

/// The log records of each service under its own name.
pub(super) fn logs(records: &[LogRecord], resource: &Resource) -> ExportLogsServiceRequest {
    let groups = by_service(records, |record| record.service, log);
    let resource_logs = groups.into_iter().map(|(service, log_records)| {
        let scope_logs = otlp_logs::ScopeLogs {
            scope: Some(scope()),
            log_records,
            schema_url: String::new(),
        };
        otlp_logs::ResourceLogs {
            resource: Some(resource.of(service)),
            scope_logs: vec![scope_logs],
            schema_url: String::new(),
        }
    });
    ExportLogsServiceRequest {
        resource_logs: resource_logs.collect(),
    }
}

/// A process has three services at most, so a list is enough.
fn by_service<R, O>(
    records: &[R],
    service: impl Fn(&R) -> &'static str,
    encode: impl Fn(&R) -> O,
) -> Vec<(&'static str, Vec<O>)> {
    let mut groups: Vec<(&'static str, Vec<O>)> = Vec::new();
    for record in records {
        let service = service(record);
        let encoded = encode(record);
        match groups.iter_mut().find(|(known, _)| *known == service) {
            Some((_, group)) => group.push(encoded),
            None => groups.push((service, vec![encoded])),
        }
    }
    groups
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    }
}

fn span(record: &SpanRecord) -> otlp::Span {
    let context = &record.context;
    let remote = if record.parent_is_remote {
        PARENT_IS_REMOTE
    } else {
        0
    };
    let parent = record.parent.map(|parent| parent.to_bytes().to_vec());
    let state = context.state.as_deref().unwrap_or_default();
    let status = record.error.as_ref().map(|error| otlp::Status {
        message: error.clone(),
        code: otlp::status::StatusCode::Error.into(),
    });
    otlp::Span {
        trace_id: context.trace.to_bytes().to_vec(),
        span_id: context.span.to_bytes().to_vec(),
        trace_state: state.to_owned(),
        parent_span_id: parent.unwrap_or_default(),
        flags: u32::from(context.sampled) | TELLS_REMOTE | remote,
        name: record.name.to_owned(),
        kind: kind(record.kind).into(),
        start_time_unix_nano: nanoseconds(record.started),
        end_time_unix_nano: nanoseconds(record.ended),
        attributes: attributes(&record.attributes),
        links: record.links.iter().map(link).collect(),
        status,
        ..otlp::Span::default()
    }
}

fn kind(kind: Kind) -> otlp::span::SpanKind {
    match kind {
        Kind::Internal => otlp::span::SpanKind::Internal,
        Kind::Server => otlp::span::SpanKind::Server,
        Kind::Client => otlp::span::SpanKind::Client,
        Kind::Producer => otlp::span::SpanKind::Producer,
        Kind::Consumer => otlp::span::SpanKind::Consumer,
    }
}

fn link(link: &Link) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: link.to.trace.to_bytes().to_vec(),
        span_id: link.to.span.to_bytes().to_vec(),
        trace_state: link.to.state.as_deref().unwrap_or_default().to_owned(),
        attributes: vec![text("relation", link.relation)],
        dropped_attributes_count: 0,
        flags: u32::from(link.to.sampled),
    }
}

fn log(record: &LogRecord) -> otlp_logs::LogRecord {
    let at = nanoseconds(record.at);
    let mut attributes = attributes(&record.fields);
    attributes.push(text("logger", record.logger));
    attributes.push(text("module", record.module));
    if !record.function.is_empty() {
        attributes.push(text("function", record.function));
    }
    attributes.push(pair("line", Any::IntValue(record.line.into())));
    let (trace_id, span_id) = match record.place {
        Some((trace, span)) => (trace.to_bytes().to_vec(), span.to_bytes().to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    otlp_logs::LogRecord {
        time_unix_nano: at,
        observed_time_unix_nano: at,
        severity_number: severity(record.level).into(),
        severity_text: record.level.as_str().to_owned(),
        body: Some(AnyValue {
            value: Some(Any::StringValue(record.message.clone())),
        }),
        attributes,
        flags: u32::from(record.kept),
        trace_id,
        span_id,
        ..otlp_logs::LogRecord::default()
    }
}

fn severity(level: Level) -> otlp_logs::SeverityNumber {
    match level {
        Level::TRACE => otlp_logs::SeverityNumber::Trace,
        Level::DEBUG => otlp_logs::SeverityNumber::Debug,
        Level::INFO => otlp_logs::SeverityNumber::Info,
        Level::WARN => otlp_logs::SeverityNumber::Warn,
        Level::ERROR => otlp_logs::SeverityNumber::Error,
    }
}

/// Each key once, as OTLP has it: what was said last counts.
fn attributes(said: &[(&'static str, Value)]) -> Vec<KeyValue> {
    let mut attributes: Vec<KeyValue> = Vec::with_capacity(said.len());
    for (key, value) in said {
        let value = match value {
            Value::Word(word) => Any::StringValue((*word).to_owned()),
            Value::Text(text) => Any::StringValue(text.clone()),
            Value::Int(number) => Any::IntValue(*number),
            Value::Float(number) => Any::DoubleValue(*number),
            Value::Bool(value) => Any::BoolValue(*value),
        };
        let attribute = pair(key, value);
        match attributes.iter_mut().find(|known| known.key == *key) {
            Some(known) => *known = attribute,
            None => attributes.push(attribute),
        }
    }
    attributes
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Any::StringValue(value.to_owned()))
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A time before 1970 is a clock that was never set.
fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(service: &'static str) -> LogRecord {
        LogRecord {
            at: UNIX_EPOCH,
            level: Level::INFO,
            service,
            logger: "o",
            module: "o",
            function: "",
            line: 1,
            message: String::new(),
            fields: Vec::new(),
            place: None,
            kept: false,
        }
    }

    #[test]
    fn a_service_says_once_who_it_is() {
        let said = Resource {
            service_name: None,
            attributes: vec![("service.version".to_owned(), "7".to_owned())],
        };
        let message = logs(&[log("o"), log("w"), log("o")], &said);
        let groups = message.resource_logs.iter();
        let sizes = groups.map(|group| group.scope_logs[0].log_records.len());
        let sizes: Vec<_> = sizes.collect();
        assert_eq!(sizes, [2, 1]);
        let resource = message.resource_logs[0].resource.as_ref().unwrap();
        let versions = resource.attributes.iter();
        let versions = versions.filter(|pair| pair.key == "service.version");
        assert_eq!(versions.count(), 1);
    }

    #[test]
    fn what_was_said_last_of_a_key_counts() {
        let said = [
            ("round", Value::Int(3)),
            ("late", Value::Bool(true)),
            ("round", Value::Int(4)),
        ];
        let [round, late] = attributes(&said).try_into().unwrap();
        assert_eq!((&*round.key, &*late.key), ("round", "late"));
        assert_eq!(round.value.unwrap().value, Some(Any::IntValue(4)));
    }
}
