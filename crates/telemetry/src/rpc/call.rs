//! One call, from its beginning to the end of its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tonic::{Code, Status};
use tracing::error;

use super::methods::{Method, word};
use super::place;
use crate::trace::{Here, Scope, Span, TraceContext, Tracer};

/// The header, or the trailer, with a call's code.
const STATUS: &str = "grpc-status";

/// The header in which a caller says how long it waits.
const TIMEOUT: &str = "grpc-timeout";

/// A call that has begun. Dropped before it [ends](Call::end), it is cancelled, or out of time.
#[derive(Debug)]
pub(super) struct Call {
    method: Arc<Method>,
    started: Instant,
    patience: Option<Duration>,
    scope: Option<Scope>,
    // None once it has ended: for a stream with the headers of the answer, as a span that waits
    // for a stream would be held in memory for as long.
    span: Option<Span>,
    has_ended: bool,
}

impl Call {
    pub(super) fn begin(
        method: &Arc<Method>,
        tracer: &Tracer,
        headers: &HeaderMap,
        caller: Option<&TraceContext>,
    ) -> Self {
        let span = tracer.serve(method.name, caller);
        let span = span.on_request(place::request(headers));
        if span.is_kept() {
            span.set("rpc.system", "grpc");
            span.set("rpc.service", method.service);
            span.set("rpc.method", method.method);
        }
        let (scope, span) = span.split();
        method.in_flight.inc();
        Self {
            method: Arc::clone(method),
            started: now(),
            patience: headers
                .get(TIMEOUT)
                .and_then(|told| patience(told.to_str().ok()?)),
            scope,
            span: Some(span),
            has_ended: false,
        }
    }

    /// Does part of the work where the call is.
    pub(super) fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let here = Here::enter(self.scope.take());
        let done = work();
        self.scope = here.leave();
        done
    }

    /// The answer begins. It ends at once if nothing but headers comes; what is left of the call,
    /// if not, goes along with the body.
    pub(super) fn answer(mut self, headers: &HeaderMap, is_all: bool) -> Option<Self> {
        if is_all {
            self.end(Some(headers));
            return None;
        }
        if self.method.streams {
            self.span = None;
        }
        Some(self)
    }

    /// The call ends with this status; without one, something broke.
    pub(super) fn end(&mut self, status: Option<&HeaderMap>) {
        let code = status.and_then(|status| status.get(STATUS));
        let code = code.map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()));
        let message = || {
            let status = status.and_then(Status::from_header_map);
            status.map_or_else(
                || "the answer broke off".to_owned(),
                |status| status.message().to_owned(),
            )
        };
        self.end_with(code, message);
    }

    fn end_with(&mut self, code: Code, message: impl Fn() -> String) {
        self.has_ended = true;
        // What is counted and logged belongs to the span, which therefore ends last.
        let here = Here::enter(self.scope.take());
        let seconds = now().saturating_duration_since(self.started);
        self.method.duration.observe_duration(seconds);
        self.method.count(code);
        self.method.in_flight.dec();
        if is_broken(code) && !std::thread::panicking() {
            error!(
                rpc = self.method.name,
                code = word(code),
                error = message(),
                "a call failed"
            );
        }
        drop(here.leave());
        if let Some(span) = self.span.take().filter(Span::is_kept) {
            span.set("rpc.grpc.status_code", code as i32);
            if is_fault(code) {
                span.fail(message());
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // The server watches the time outside of this layer, and lets go of what is late.
        let is_late = |patience| now().saturating_duration_since(self.started) >= patience;
        if std::thread::panicking() {
            self.end_with(Code::Internal, || "the call panicked".to_owned());
        } else if self.patience.is_some_and(is_late) {
            self.end_with(Code::DeadlineExceeded, || {
                "the caller's time was up".to_owned()
            });
        } else {
            self.end_with(Code::Cancelled, || "the caller left".to_owned());
        }
    }
}

/// How long a caller waits: up to eight digits and a unit.
///
/// # Source
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, `Timeout`.
fn patience(told: &str) -> Option<Duration> {
    let (number, unit) = told.split_at_checked(told.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(60 * 60)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Codes that nobody asked for: somebody has to look at these.
fn is_broken(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Internal | Code::DataLoss)
}

/// Codes with which a server has failed; the others are its callers' mistakes, or no mistakes.
///
/// # Source
///
/// OpenTelemetry, semantic conventions for gRPC,
/// <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>.
fn is_fault(code: Code) -> bool {
    is_broken(code)
        || matches!(
            code,
            Code::DeadlineExceeded | Code::Unimplemented | Code::Unavailable
        )
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is of real time, whatever time a simulation has"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_read_as_it_travels() {
        for (told, expected) in [
            ("1H", Duration::from_secs(3_600)),
            ("2M", Duration::from_secs(120)),
            ("30S", Duration::from_secs(30)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(patience(told), Some(expected), "{told}");
        }
        for wrong in [
            "",
            "S",
            "5",
            "5s",
            "5é",
            "-1S",
            "1.5S",
            "99999999999999999999S",
        ] {
            assert_eq!(patience(wrong), None, "{wrong}");
        }
    }
}
