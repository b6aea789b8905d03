//! One event, as it is written and sent.

use std::time::SystemTime;

use tracing::{Event, Level};

use super::visit::Said;
use crate::trace::{self, Scope, SpanId, TraceId, Value};

/// The field with what a caller calls its request.
const REQUEST_ID: &str = "request_id";

/// Something that was said, and by whom.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// When.
    pub at: SystemTime,
    /// How serious it is.
    pub level: Level,
    /// The service that says it.
    pub service: &'static str,
    /// Its target: the module, unless the code says otherwise.
    pub logger: &'static str,
    /// The module that says it.
    pub module: &'static str,
    /// The piece of work, by the name of its span; empty outside of any.
    pub function: &'static str,
    /// The line of code.
    pub line: u32,
    /// What it says.
    pub message: String,
    /// The rest of it; no two have one name, and none has that of a part of the record.
    pub fields: Vec<(&'static str, Value)>,
    /// Where in a trace it was said.
    pub place: Option<(TraceId, SpanId)>,
    /// Whether that trace is kept.
    pub kept: bool,
}

impl LogRecord {
    /// What `event` says, here and now; by `service` where no piece of work says who works.
    pub(super) fn of(event: &Event<'_>, service: &'static str) -> Self {
        let mut said = Said::default();
        event.record(&mut said);
        let about = event.metadata();
        let here = trace::current();
        if let Some(request) = here.as_ref().and_then(Scope::request) {
            said.fields.retain(|(name, _)| *name != REQUEST_ID);
            said.fields.push((REQUEST_ID, request.to_owned().into()));
        }
        Self {
            at: now(),
            level: *about.level(),
            service: here.as_ref().map_or(service, Scope::service),
            logger: about.target(),
            module: about.module_path().unwrap_or_default(),
            function: here.as_ref().map_or("", Scope::name),
            line: about.line().unwrap_or_default(),
            message: said.message,
            fields: said.fields,
            place: here.as_ref().map(|scope| {
                let context = scope.context();
                (context.trace, context.span)
            }),
            kept: here.as_ref().is_some_and(Scope::is_kept),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a line tells when it was said to people who look at their own clocks"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
