//! Traces: who caused what, across services.
//!
//! A span is decided first and built afterwards: in a trace that is not kept, [`span!`](crate::span!) costs one
//! look at a thread's own memory. What travels between services is a [`TraceContext`], and only
//! what is told in metadata, a message's field or a queue's attribute counts: a service begins with
//! [`Tracer::serve`] or [`Tracer::consume`], which ignore what the thread was doing before.
//!
//! Spans are for pieces of work with an end. Nothing here is held open for a stream or a loop.

mod context;
mod future;
mod sampler;
mod scope;
mod span;
mod told;
mod tracer;

pub use context::{InvalidTraceparent, SpanId, TRACEPARENT, TRACESTATE, TraceContext, TraceId};
pub use future::{InSpan, Traced};
pub use sampler::{InvalidSampler, Sampler};
pub use scope::{Scope, current, current_context};
pub use span::{Kind, Link, Span, SpanRecord, Value};
pub use told::told;
pub use tracer::Tracer;

pub(crate) use scope::{Here, kept_here, with_current};

/// A span inside the current one, with what is known of it; nothing in a trace that is not kept,
/// and then the values are not even computed.
///
/// ```
/// use telemetry::trace::Traced;
/// # async fn sum_of_updates() {}
/// # async fn example() {
/// let span = telemetry::span!("aggregate", "round" = 3, "strategy" = "fedavg");
/// sum_of_updates().in_span(span).await;
/// # }
/// ```
#[macro_export]
macro_rules! span {
    ($name:literal $(, $key:literal = $value:expr)* $(,)?) => {{
        let span = $crate::trace::Span::child($name);
        if span.is_kept() {
            $(span.set($key, $value);)*
        }
        span
    }};
}

#[cfg(test)]
mod tests;
