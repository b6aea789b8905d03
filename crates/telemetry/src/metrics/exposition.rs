//! Numbers as Prometheus reads them: the classic text format, and OpenMetrics, which has exemplars.
//!
//! Both write the same series under the same names, so that a query does not depend on what the
//! reader asked for. They work on a [`Snapshot`] and hold no lock.

mod accept;
mod openmetrics;

use prometheus::{Error, TextEncoder};

use super::registry::Snapshot;

/// The classic text format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What every reader understands; see [`TEXT`].
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// What the reader who sent this `Accept` header understands best. Whoever does not name
    /// OpenMetrics gets text.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        if accept.is_some_and(accept::prefers_open_metrics) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// What to tell the reader.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => TEXT,
            Self::OpenMetrics => OPEN_METRICS,
        }
    }
}

/// Writes a snapshot.
///
/// # Errors
///
/// [`Error`] names the family that the format has no words for.
pub fn encode(snapshot: &Snapshot, format: Format) -> Result<String, Error> {
    match format {
        Format::Text => text(snapshot),
        Format::OpenMetrics => openmetrics::encode(snapshot),
    }
}

/// A snapshot in the classic text format.
///
/// # Errors
///
/// What Prometheus says to metrics that contradict each other.
pub fn text(snapshot: &Snapshot) -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&snapshot.families)
}

#[cfg(test)]
mod tests;
