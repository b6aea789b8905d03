//! What telemetry counts about itself: what leaves, and what is lost on the way.

use crate::metrics::{Each, Histogram, IntCounter, IntGauge};

/// From a collector on the same host to one that is about to time out.
const DURATIONS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.5, 5.0, 10.0];

crate::metrics! {
    /// What telemetry counts about itself.
    pub struct ExportMetrics {
        /// Spans that will not arrive: the queue was full, the collector refused them, or the
        /// process ended before it could be reached.
        pub spans_dropped: IntCounter = "telemetry_spans_dropped_total";
        /// Log records that will not arrive, for the same reasons.
        pub logs_dropped: IntCounter = "telemetry_logs_dropped_total";
        /// Log lines that could not be written: who reads them went away, or a disk is full.
        pub lines_lost: IntCounter = "telemetry_log_lines_lost_total";
        /// Requests to the collector that failed. Those that may succeed later are repeated.
        pub failures: Each<IntCounter> = "telemetry_export_failures_total"
            {signal in ["traces", "logs"]};
        /// Time until the collector answered a request or was given up, in seconds.
        pub duration: Each<Histogram> = "telemetry_export_duration_seconds"
            {signal in ["traces", "logs"]}, buckets: DURATIONS;
        /// Spans and log records that the collector took.
        pub exported: Each<IntCounter> = "telemetry_exported_total"
            {signal in ["traces", "logs"]};
        /// Spans and log records that wait for the collector.
        pub queued: Each<IntGauge> = "telemetry_export_queue_records"
            {signal in ["traces", "logs"]};
    }
}
