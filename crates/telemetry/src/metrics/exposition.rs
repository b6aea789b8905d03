//! Numbers as Prometheus reads them.

use prometheus::TextEncoder;

use super::registry::Snapshot;

/// The classic text format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A snapshot in the classic text format.
///
/// # Errors
///
/// What Prometheus says to metrics that contradict each other.
pub fn text(snapshot: &Snapshot) -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&snapshot.families)
}
