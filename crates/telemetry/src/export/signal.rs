//! The two kinds of records, and the call that carries each.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::encode;
use super::resource::Resource;
use crate::logs::LogRecord;
use crate::trace::{SpanRecord, Value};

/// A kind of records.
pub(super) trait Signal {
    /// As metrics name it.
    const NAME: &'static str;
    /// What waits in its outbox.
    type Record;
    /// What its call carries.
    type Message;

    /// About how long a record is on the wire; rather more.
    fn bytes(record: &Self::Record) -> usize;

    fn encode(records: &[Self::Record], resource: &Resource) -> Self::Message;

    async fn export(channel: Channel, request: Request<Self::Message>) -> Result<Partial, Status>;
}

/// What of a request that went well was refused all the same.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) rejected: usize,
    pub(super) reason: String,
}

/// Spans.
pub(super) struct Traces;

/// Log records.
pub(super) struct Logs;

/// Ids, times, flags, and what frames them.
const FRAME_BYTES: usize = 128;
/// What frames a key and a value.
const PAIR_BYTES: usize = 24;

impl Signal for Traces {
    const NAME: &'static str = "traces";
    type Record = SpanRecord;
    type Message = ExportTraceServiceRequest;

    fn bytes(record: &SpanRecord) -> usize {
        let error = record.error.as_ref().map_or(0, String::len);
        let state = record.context.state.as_ref().map_or(0, |state| state.len());
        let links = record.links.iter().map(|link| {
            FRAME_BYTES + link.relation.len() + link.to.state.as_ref().map_or(0, |it| it.len())
        });
        let attributes = bytes(&record.attributes);
        FRAME_BYTES + record.name.len() + error + state + links.sum::<usize>() + attributes
    }

    fn encode(records: &[SpanRecord], resource: &Resource) -> ExportTraceServiceRequest {
        encode::spans(records, resource)
    }

    async fn export(
        channel: Channel,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Partial, Status> {
        let response = TraceServiceClient::new(channel).export(request).await?;
        let partial = response.into_inner().partial_success;
        Ok(partial.map_or_else(Partial::default, |partial| {
            Partial::of(partial.rejected_spans, partial.error_message)
        }))
    }
}

impl Signal for Logs {
    const NAME: &'static str = "logs";
    type Record = LogRecord;
    type Message = ExportLogsServiceRequest;

    fn bytes(record: &LogRecord) -> usize {
        let places = [record.logger, record.module, record.function];
        let places: usize = places.map(|it| it.len() + PAIR_BYTES).iter().sum();
        FRAME_BYTES + record.message.len() + places + bytes(&record.fields)
    }

    fn encode(records: &[LogRecord], resource: &Resource) -> ExportLogsServiceRequest {
        encode::logs(records, resource)
    }

    async fn export(
        channel: Channel,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Partial, Status> {
        let response = LogsServiceClient::new(channel).export(request).await?;
        let partial = response.into_inner().partial_success;
        Ok(partial.map_or_else(Partial::default, |partial| {
            Partial::of(partial.rejected_log_records, partial.error_message)
        }))
    }
}

impl Partial {
    /// A collector that counts below zero has refused nothing.
    fn of(rejected: i64, reason: String) -> Self {
        Self {
            rejected: usize::try_from(rejected).unwrap_or(0),
            reason,
        }
    }
}

fn bytes(attributes: &[(&'static str, Value)]) -> usize {
    let pair = |(key, value): &(&'static str, Value)| {
        let value = match value {
            Value::Word(word) => word.len(),
            Value::Text(text) => text.len(),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => 0,
        };
        PAIR_BYTES + key.len() + value
    };
    attributes.iter().map(pair).sum()
}
