//! A place in a trace, in a call's headers.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::metrics::Registry;
use crate::trace::{self, Scope, TRACEPARENT, TRACESTATE, TraceContext, with_current};

static PARENT: HeaderName = HeaderName::from_static(TRACEPARENT);
static STATE: HeaderName = HeaderName::from_static(TRACESTATE);

/// What a caller calls its request, so that people find what became of it.
const REQUEST: &str = "x-request-id";

static REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST);

/// Longest name of a request that is taken over: four times a UUID.
const REQUEST_MAX: usize = 144;

/// `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`.
const PARENT_LEN: usize = 55;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Tells the callee where in a trace the caller is, if it is anywhere, and for which request.
pub fn stamp(headers: &mut HeaderMap) {
    with_current(|here| {
        let Some(context) = here.map(|scope| scope.context()) else {
            return;
        };
        if let Ok(mut value) = HeaderValue::from_bytes(&written(context)) {
            // No place comes twice: in the connection's table of headers it would drive out those
            // that do.
            value.set_sensitive(true);
            headers.insert(&PARENT, value);
        }
        let state = context.state.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(state)) = state {
            headers.insert(&STATE, state);
        }
        let request = here.and_then(Scope::request).map(HeaderValue::from_str);
        if let Some(Ok(request)) = request {
            headers.insert(&REQUEST_ID, request);
        }
    });
}

/// Where the caller is, as far as it says so in a form that can be read.
pub(crate) fn told(headers: &HeaderMap, registry: &Registry) -> Option<TraceContext> {
    let text = |name| {
        headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
    };
    let state = headers.get(&STATE).and_then(|state| state.to_str().ok());
    trace::told(&text(&PARENT)?, state.unwrap_or_default(), registry)
}

/// What the caller calls its request. Log lines repeat it, so it has to be short and visible.
pub(crate) fn request(headers: &HeaderMap) -> Option<Arc<str>> {
    let told = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let is_name = |byte: u8| byte.is_ascii_graphic();
    let fits = (1..=REQUEST_MAX).contains(&told.len()) && told.bytes().all(is_name);
    fits.then(|| told.into())
}

/// The `traceparent`, without a text in between.
fn written(context: &TraceContext) -> [u8; PARENT_LEN] {
    let mut text = [b'-'; PARENT_LEN];
    write_hex(&mut text[..2], &[0]);
    write_hex(&mut text[3..35], &context.trace.to_bytes());
    write_hex(&mut text[36..52], &context.span.to_bytes());
    write_hex(&mut text[53..], &[u8::from(context.sampled)]);
    text
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Sampler, SpanId, TraceId, Tracer};

    fn caller(sampled: bool) -> TraceContext {
        TraceContext {
            trace: TraceId::random(),
            span: SpanId::random(),
            sampled,
            state: Some("vendor=7".into()),
        }
    }

    #[test]
    fn what_is_stamped_is_told() {
        let registry = Registry::new("kitchen").unwrap();
        for sampled in [true, false] {
            let caller = caller(sampled);
            // Nothing is kept here, so that the place is the caller's own.
            let tracer = Tracer::new("kitchen", Sampler::all(), None);
            let mut headers = HeaderMap::new();
            tracer
                .serve("Order", Some(&caller))
                .run(|| stamp(&mut headers));
            assert_eq!(headers[TRACEPARENT], caller.traceparent());
            assert_eq!(told(&headers, &registry), Some(caller));
        }
    }

    #[test]
    fn a_request_is_called_the_same_by_all_who_work_on_it() {
        let tracer = Tracer::new("kitchen", Sampler::all(), None);
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST, "order-7".parse().unwrap());
        let named = tracer.serve("Order", None).on_request(request(&headers));
        let mut onward = HeaderMap::new();
        named.run(|| stamp(&mut onward));
        assert_eq!(onward[REQUEST], "order-7");
    }

    #[test]
    fn what_is_no_name_of_a_request_is_left_out() {
        for told in ["", "two words", &"x".repeat(REQUEST_MAX + 1)] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST, told.parse().unwrap());
            assert_eq!(request(&headers), None, "{told}");
        }
    }

    #[test]
    fn who_is_nowhere_stamps_nothing() {
        let mut headers = HeaderMap::new();
        stamp(&mut headers);
        assert!(headers.is_empty());
    }
}
