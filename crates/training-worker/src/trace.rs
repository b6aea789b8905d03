//! Where tasks stand in traces: what a message says of its sender, what reports say of us.

use std::collections::BTreeMap;

use proto::v1;
use task_queue::Delivery;
use telemetry::Telemetry;
use telemetry::metrics::Registry;
use telemetry::trace::{self, Span, TRACEPARENT, TRACESTATE, TraceContext};

use crate::train::Task;

/// The system of queues, as spans name it.
const SYSTEM: &str = "pangea";

/// The span of one delivery, in the trace of whoever sent the task. A repeated one is linked to the
/// sender besides, so that it can be found.
pub(crate) fn span_of(delivery: &Delivery, telemetry: &Telemetry) -> Span {
    let sender = sender(&delivery.attributes, &telemetry.registry);
    let span = telemetry.tracer.consume("task", sender.as_ref());
    if span.is_kept() {
        span.set("messaging.system", SYSTEM);
        span.set("messaging.delivery_attempt", delivery.epoch);
        if let Some(sender) = sender.filter(|_| delivery.epoch > 1) {
            span.link(sender, "redelivery");
        }
    }
    span
}

/// Says which work a span is about.
pub(crate) fn describe(span: &Span, task: &Task, worker: &str) {
    if span.is_kept() {
        let id = &task.id;
        span.set("run", id.run.to_string());
        span.set("round", id.round);
        span.set("participant_id", id.client.to_string());
        span.set("agent_id", id.client.to_string());
        span.set("attempt", id.attempt);
        span.set("worker", worker.to_owned());
    }
}

/// A place in a trace, as messages say it.
pub(crate) fn said(place: Option<TraceContext>) -> Option<v1::TraceContext> {
    place.map(|place| v1::TraceContext {
        traceparent: place.traceparent(),
        tracestate: place.state.as_deref().unwrap_or_default().to_owned(),
    })
}

fn sender(attributes: &BTreeMap<String, String>, registry: &Registry) -> Option<TraceContext> {
    let state = attributes.get(TRACESTATE).map_or("", String::as_str);
    trace::told(attributes.get(TRACEPARENT)?, state, registry)
}
