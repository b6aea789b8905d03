//! Every metric of this crate.

use std::io;
use std::sync::Arc;

use seams::{Seam, Seams};
use telemetry::metrics::{Each, Histogram, IntCounter};

/// What a store is asked for: a get and an upload begin, and go on with reads and writes of up to
/// a chunk.
const OPERATIONS: [&str; 10] = [
    "put", "upload", "write", "finish", "adopt", "get", "read", "head", "delete", "list",
];

/// Seconds of one operation: from a look into the page cache to a flush on a disk that is busy.
const BUCKETS: [f64; 9] = [0.0001, 0.0005, 0.0025, 0.01, 0.05, 0.2, 0.5, 2.5, 10.0];

telemetry::metrics! {
    /// The metrics of an artifact store, for whoever serves one.
    pub struct Metrics {
        /// What the artifact store was asked for, by operation.
        pub requests: Each<IntCounter> = "artifact_store_requests_total" {operation in OPERATIONS};
        /// Operations of the artifact store that failed for a reason of its own, such as a full
        /// disk.
        pub errors: Each<IntCounter> = "artifact_store_errors_total" {operation in OPERATIONS};
        /// Bytes that went through the artifact store, by operation.
        pub bytes: Each<IntCounter> = "artifact_store_bytes_total"
            {operation in ["put", "write", "read"]};
        /// Time of an operation of the artifact store, in seconds.
        pub seconds: Each<Histogram> = "artifact_store_duration_seconds"
            {operation in OPERATIONS}, buckets: BUCKETS;
    }
}

/// Counts what a store does, if anybody wants to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    metrics: Option<Arc<Metrics>>,
    seams: Seams,
}

impl Meter {
    pub(crate) fn counted(self, metrics: Metrics) -> Self {
        Self {
            metrics: Some(Arc::new(metrics)),
            ..self
        }
    }

    pub(crate) fn through(self, seams: Seams) -> Self {
        Self { seams, ..self }
    }

    /// Counts `work`, one operation.
    pub(crate) async fn count<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        self.seams.pass(Seam::Artifacts, operation);
        let Some(metrics) = &self.metrics else {
            return work.await;
        };
        metrics.requests.of(operation).inc();
        let timer = metrics.seconds.of(operation).start();
        let done = work.await;
        timer.stop();
        if done.is_err() {
            metrics.errors.of(operation).inc();
        }
        done
    }

    /// Counts bytes that `operation` moved.
    pub(crate) fn count_bytes(&self, operation: &'static str, bytes: usize) {
        if let Some(metrics) = &self.metrics {
            metrics.bytes.of(operation).inc_by(bytes as u64);
        }
    }
}
