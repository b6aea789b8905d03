//! Places that others tell, in a header, an attribute or a field.

use std::sync::Once;

use tracing::warn;

use super::context::TraceContext;
use crate::metrics::{BadInput, Registry};

/// Whoever tells one malformed place tells thousands; the metric counts them.
static WARNED: Once = Once::new();

/// The place that `traceparent` and `tracestate` name; an empty `traceparent` names none. What does
/// not read is counted in `registry`, told once in a process, and means nothing.
#[must_use]
pub fn told(traceparent: &str, tracestate: &str, registry: &Registry) -> Option<TraceContext> {
    if traceparent.is_empty() {
        return None;
    }
    match traceparent.parse::<TraceContext>() {
        Ok(context) => Some(context.with_state(tracestate)),
        Err(error) => {
            registry.count_bad(BadInput::Traceparent);
            WARNED.call_once(|| {
                warn!(error = %error, "a place in a trace is unknown; others are only counted");
            });
            None
        }
    }
}
