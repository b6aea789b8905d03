//! Every metric of this crate.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use seams::{Seam, Seams};
use telemetry::metrics::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

/// Where the bytes are.
const STORES: [&str; 2] = ["local", "s3"];

/// What a store is asked for: a get and an upload begin, and go on with reads and writes of up to
/// a chunk in a directory, of up to a part on S3.
const OPERATIONS: [&str; 12] = [
    "put", "upload", "write", "finish", "append", "adopt", "settle", "get", "read", "head",
    "delete", "list",
];

/// The operations that move bytes.
const MOVING: [&str; 4] = ["put", "write", "append", "read"];

/// Seconds of one operation: from a look into the page cache to a flush on a disk that is busy.
const BUCKETS: [f64; 9] = [0.0001, 0.0005, 0.0025, 0.01, 0.05, 0.2, 0.5, 2.5, 10.0];

telemetry::metrics! {
    /// The metrics of an artifact store, for whoever serves one.
    pub struct Metrics {
        /// What the artifact store was asked for, by operation.
        pub requests: IntCounterVec = "artifact_store_requests_total"
            {store in STORES, operation in OPERATIONS};
        /// Operations of the artifact store that failed for a reason of its own, such as a full
        /// disk or an S3 that does not answer.
        pub errors: IntCounterVec = "artifact_store_errors_total"
            {store in STORES, operation in OPERATIONS};
        /// Bytes that went through the artifact store, by operation.
        pub bytes: IntCounterVec = "artifact_store_bytes_total"
            {store in STORES, operation in MOVING};
        /// Time of an operation of the artifact store, in seconds.
        pub seconds: HistogramVec = "artifact_store_duration_seconds"
            {store in STORES, operation in OPERATIONS}, buckets: BUCKETS;
        /// Updates that wait in the local directory to go up to S3.
        pub waiting: IntGauge = "artifact_updates_waiting";
    }
}

/// Counts what one store does, if anybody wants to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    counted: Option<Arc<Counted>>,
    seams: Seams,
}

#[derive(Debug)]
struct Counted {
    operations: [Operation; OPERATIONS.len()],
    waiting: IntGauge,
}

/// The handles of one operation, which exports its series from the start.
#[derive(Debug)]
struct Operation {
    name: &'static str,
    requests: IntCounter,
    errors: IntCounter,
    bytes: Option<IntCounter>,
    seconds: Histogram,
}

impl Meter {
    /// Counts what `store` does, one of those in the list.
    pub(crate) fn counted(self, metrics: Metrics, store: &'static str) -> Self {
        let operation = |name| {
            let labels = [store, name];
            let moves = MOVING.contains(&name);
            Operation {
                name,
                requests: metrics.requests.with_label_values(&labels),
                errors: metrics.errors.with_label_values(&labels),
                bytes: moves.then(|| metrics.bytes.with_label_values(&labels)),
                seconds: metrics.seconds.with(&labels),
            }
        };
        let counted = Counted {
            operations: OPERATIONS.map(operation),
            waiting: metrics.waiting,
        };
        Self {
            counted: Some(Arc::new(counted)),
            ..self
        }
    }

    /// Passes every operation through `seams`.
    pub(crate) fn through(self, seams: Seams) -> Self {
        Self { seams, ..self }
    }

    /// Counts `work`, one operation, which is made with `arguments`.
    pub(crate) async fn count<T, E: From<io::Error>>(
        &self,
        operation: &'static str,
        arguments: &(dyn Debug + Sync),
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let counted = self.count_made(operation, work);
        self.seams
            .make(Seam::Artifacts, operation, arguments, counted)
            .await
    }

    async fn count_made<T, E>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(counted) = self.operation(operation) else {
            return work.await;
        };
        counted.requests.inc();
        let timer = counted.seconds.start();
        let done = work.await;
        timer.stop();
        if done.is_err() {
            counted.errors.inc();
        }
        done
    }

    /// Counts bytes that `operation` moved.
    pub(crate) fn count_bytes(&self, operation: &'static str, bytes: usize) {
        let counted = self.operation(operation);
        if let Some(moved) = counted.and_then(|counted| counted.bytes.as_ref()) {
            moved.inc_by(bytes as u64);
        }
    }

    /// Says how many updates wait to go up.
    pub(crate) fn show_waiting(&self, updates: usize) {
        if let Some(counted) = &self.counted {
            counted
                .waiting
                .set(i64::try_from(updates).unwrap_or(i64::MAX));
        }
    }

    fn operation(&self, name: &'static str) -> Option<&Operation> {
        let counted = self.counted.as_ref()?;
        counted.operations.iter().find(|known| known.name == name)
    }
}
