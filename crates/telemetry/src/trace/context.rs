//! What names a place in a trace, and how it travels between services.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;
use std::sync::Arc;

use rand::RngExt;
use thiserror::Error;

/// The metadata key, message attribute and header of W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// What the systems of others say about the same trace; passed on unread.
pub const TRACESTATE: &str = "tracestate";

/// Most bytes of a `tracestate` that are passed on; W3C asks for at least 512.
const STATE_MAX: usize = 512;

/// The bit of the flags that says that the trace is kept.
const SAMPLED: u8 = 1;

/// A trace: everything that followed from one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// A span: one piece of work in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

/// A place in a trace, as one service tells it to another.
///
/// # Source
///
/// W3C Trace Context, level 1, <https://www.w3.org/TR/trace-context/>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that caused what follows.
    pub span: SpanId,
    /// Whether the trace is kept; whoever continues it decides the same.
    pub sampled: bool,
    /// The `tracestate` of others, if there is one.
    pub state: Option<Arc<str>>,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "traceparent {text:?} cannot be read; must be 00-<32 hex digits>-<16 hex digits>-<2 hex digits>"
)]
pub struct InvalidTraceparent {
    /// What was given, cut to a readable length.
    pub text: String,
}

impl TraceId {
    /// A new one, by chance.
    #[must_use]
    pub fn random() -> Self {
        Self(NonZeroU128::new(rand::rng().random()).unwrap_or(NonZeroU128::MIN))
    }

    /// Big-endian, as on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The part that is random in every kind of trace id; samplers decide by it.
    #[must_use]
    pub fn low(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl SpanId {
    /// A new one, by chance.
    #[must_use]
    pub fn random() -> Self {
        Self(NonZeroU64::new(rand::rng().random()).unwrap_or(NonZeroU64::MIN))
    }

    /// Big-endian, as on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TraceContext {
    /// The same place, with what others say about the trace. Too much of it is left out whole, as
    /// half of it would mean something else.
    #[must_use]
    pub fn with_state(mut self, state: &str) -> Self {
        self.state = (!state.is_empty() && state.len() <= STATE_MAX).then(|| state.into());
        self
    }

    /// The `traceparent` of what follows from here.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = u8::from(self.sampled);
        format!("00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        read(text).ok_or_else(|| InvalidTraceparent {
            text: text.chars().take(80).collect(),
        })
    }
}

fn read(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let span = hex(parts.next()?, 16)?;
    let flags = hex(parts.next()?, 2)?;
    // A later version may say more after what this one knows; this one may not.
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    Some(TraceContext {
        trace: TraceId(NonZeroU128::new(trace)?),
        span: SpanId(NonZeroU64::new(u64::try_from(span).ok()?)?),
        sampled: flags & u128::from(SAMPLED) != 0,
        state: None,
    })
}

/// Lowercase digits alone, as the standard has them.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if text.len() != digits || !text.as_bytes().iter().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_reads_and_writes_the_same() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert!(context.sampled);
        assert_eq!(context.traceparent(), EXAMPLE);
        let unsampled = EXAMPLE.replace("-01", "-00");
        let context: TraceContext = unsampled.parse().unwrap();
        assert!(!context.sampled);
        assert_eq!(context.traceparent(), unsampled);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = EXAMPLE.replacen("00", "cc", 1) + "-what-comes-next";
        assert!(later.parse::<TraceContext>().is_ok());
    }

    #[test]
    fn what_is_no_traceparent_is_refused_with_what_would_be() {
        let wrong = [
            String::new(),
            "00".to_owned(),
            EXAMPLE.to_uppercase(),
            format!("{EXAMPLE}-more"),
            EXAMPLE.replacen("00", "ff", 1),
            EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            EXAMPLE.replace("b7ad6b7169203331", &"0".repeat(16)),
            EXAMPLE.replace("b7ad", "b7aé"),
            "x".repeat(10_000),
        ];
        for text in wrong {
            let error = text.parse::<TraceContext>().unwrap_err().to_string();
            assert!(error.contains("must be 00-<32 hex digits>"), "{error}");
            assert!(error.len() < 400, "{}", error.len());
        }
    }

    #[test]
    fn a_state_is_passed_on_whole_or_not_at_all() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        let with = context.clone().with_state("vendor=7");
        assert_eq!(with.state.as_deref(), Some("vendor=7"));
        assert_eq!(context.with_state(&"x".repeat(513)).state, None);
    }

    #[test]
    fn chance_gives_different_ids() {
        assert_ne!(TraceId::random(), TraceId::random());
        assert_ne!(SpanId::random(), SpanId::random());
    }
}
