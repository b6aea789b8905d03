//! One event, as it is written and sent.

use std::time::SystemTime;

use tracing::Level;

use crate::trace::{SpanId, TraceId, Value};

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
    /// The rest of it.
    pub fields: Vec<(&'static str, Value)>,
    /// Where in a trace it was said.
    pub place: Option<(TraceId, SpanId)>,
    /// Whether that trace is kept.
    pub kept: bool,
}
