//! What a sink has seen, in the words of tests: ids in hex, values as texts.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::metadata::{KeyAndValueRef, MetadataMap};

/// Values by key.
type Attributes = BTreeMap<String, String>;

/// All that came to a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Spans, in the order in which they came.
    pub spans: Vec<SeenSpan>,
    /// Log records, in the order in which they came.
    pub logs: Vec<SeenLog>,
    /// Requests, those that were not accepted included.
    pub requests: usize,
    /// The headers of the last request, as far as they are text.
    pub headers: Attributes,
}

/// A span that came to a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSpan {
    /// Its `service.name`.
    pub service: String,
    /// All that its resource says.
    pub resource: Attributes,
    /// What was done.
    pub name: String,
    /// Such as `SPAN_KIND_SERVER`.
    pub kind: &'static str,
    /// The trace, in hex.
    pub trace: String,
    /// The span, in hex.
    pub span: String,
    /// What caused it, in hex.
    pub parent: Option<String>,
    /// Whether that is in another service.
    pub parent_is_remote: bool,
    /// Whether its trace is kept.
    pub sampled: bool,
    /// What others say about the trace.
    pub state: String,
    /// When it began and ended, in nanoseconds since 1970.
    pub nanoseconds: (u64, u64),
    /// What is known about it.
    pub attributes: Attributes,
    /// Other places that it has to do with.
    pub links: Vec<SeenLink>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// A link of a span that came to a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLink {
    /// The trace, in hex.
    pub trace: String,
    /// The span, in hex.
    pub span: String,
    /// What it is to the span that links it.
    pub relation: String,
}

/// A log record that came to a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLog {
    /// Its `service.name`.
    pub service: String,
    /// All that its resource says.
    pub resource: Attributes,
    /// When it was said, in nanoseconds since 1970.
    pub nanoseconds: u64,
    /// Such as `INFO`.
    pub level: String,
    /// The same as OTLP counts it.
    pub severity: i32,
    /// What it says.
    pub message: String,
    /// The rest of it.
    pub attributes: Attributes,
    /// The trace and the span that it was said in, in hex.
    pub place: Option<(String, String)>,
    /// Whether that trace is kept.
    pub sampled: bool,
}

impl Received {
    pub(super) fn note(&mut self, metadata: &MetadataMap) {
        self.requests += 1;
        let headers = metadata.iter().filter_map(|header| match header {
            KeyAndValueRef::Ascii(key, value) => {
                Some((key.to_string(), value.to_str().ok()?.to_owned()))
            }
            KeyAndValueRef::Binary(..) => None,
        });
        self.headers = headers.collect();
    }

    pub(super) fn take_spans(&mut self, message: ExportTraceServiceRequest) {
        for group in message.resource_spans {
            let (service, resource) = of(group.resource.as_ref());
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans
                .extend(spans.map(|span| SeenSpan::of(&span, &service, &resource)));
        }
    }

    pub(super) fn take_logs(&mut self, message: ExportLogsServiceRequest) {
        for group in message.resource_logs {
            let (service, resource) = of(group.resource.as_ref());
            let scopes = group.scope_logs.into_iter();
            let logs = scopes.flat_map(|scope| scope.log_records);
            self.logs
                .extend(logs.map(|log| SeenLog::of(&log, &service, &resource)));
        }
    }
}

impl SeenSpan {
    fn of(span: &Span, service: &str, resource: &Attributes) -> Self {
        let links = span.links.iter().map(|link| SeenLink {
            trace: hex(&link.trace_id),
            span: hex(&link.span_id),
            relation: read(&link.attributes)
                .remove("relation")
                .unwrap_or_default(),
        });
        let failed = span.status.as_ref().filter(|status| status.code == 2);
        Self {
            service: service.to_owned(),
            resource: resource.clone(),
            name: span.name.clone(),
            kind: span.kind().as_str_name(),
            trace: hex(&span.trace_id),
            span: hex(&span.span_id),
            parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
            parent_is_remote: span.flags & 0x300 == 0x300,
            sampled: span.flags & 1 == 1,
            state: span.trace_state.clone(),
            nanoseconds: (span.start_time_unix_nano, span.end_time_unix_nano),
            attributes: read(&span.attributes),
            links: links.collect(),
            error: failed.map(|status| status.message.clone()),
        }
    }
}

impl SeenLog {
    fn of(log: &LogRecord, service: &str, resource: &Attributes) -> Self {
        Self {
            service: service.to_owned(),
            resource: resource.clone(),
            nanoseconds: log.time_unix_nano,
            level: log.severity_text.clone(),
            severity: log.severity_number,
            message: text(log.body.as_ref()),
            attributes: read(&log.attributes),
            place: (!log.trace_id.is_empty()).then(|| (hex(&log.trace_id), hex(&log.span_id))),
            sampled: log.flags & 1 == 1,
        }
    }
}

fn of(resource: Option<&Resource>) -> (String, Attributes) {
    let attributes = resource.map_or_else(Attributes::new, |resource| read(&resource.attributes));
    let service = attributes.get("service.name").cloned();
    (service.unwrap_or_default(), attributes)
}

fn read(attributes: &[KeyValue]) -> Attributes {
    let pair = |pair: &KeyValue| (pair.key.clone(), text(pair.value.as_ref()));
    attributes.iter().map(pair).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::BoolValue(value)) => value.to_string(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
