//! Calls between services: what they carry of a trace, and how they are counted.

use http::{HeaderMap, HeaderValue};

use crate::trace::{TRACEPARENT, TRACESTATE, current_context};

/// Tells the callee where in a trace the caller is, if it is anywhere.
pub fn stamp(headers: &mut HeaderMap) {
    let Some(context) = current_context() else {
        return;
    };
    if let Ok(value) = HeaderValue::try_from(context.traceparent()) {
        headers.insert(TRACEPARENT, value);
    }
    let state = context
        .state
        .and_then(|state| HeaderValue::try_from(&*state).ok());
    if let Some(state) = state {
        headers.insert(TRACESTATE, state);
    }
}
