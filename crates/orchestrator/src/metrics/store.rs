//! What is counted of the run store.

use telemetry::metrics::{Each, HistogramVec, IntCounterVec, IntGauge};

/// The database's name in labels.
pub const DATABASE: &str = "runs";

/// What is done to the database: transactions, then statements.
pub const STATEMENTS: [&str; 6] = ["begin", "commit", "select", "insert", "update", "delete"];

/// What can go wrong: statements, and getting the connection for one.
pub const OPERATIONS: [&str; 7] = [
    "begin", "commit", "select", "insert", "update", "delete", "acquire",
];

/// What it is done to: what a row stands for.
pub const MODELS: [&str; 10] = [
    "transaction",
    "dataset",
    "partition",
    "run",
    "round",
    "attempt",
    "receipt",
    "event",
    "model_version",
    "leader",
];

/// What can be wrong: the classes of the databases' codes, then what stands between them and us.
pub const ERRORS: [&str; 11] = [
    "busy",
    "constraint",
    "corrupt",
    "full",
    "io",
    "read_only",
    "database",
    "connection",
    "pool_timeout",
    "pool_closed",
    "other",
];

/// Seconds of a statement: from a look into the page cache to a write that waited for others.
const BUCKETS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.2, 0.5, 2.5, 30.0];

telemetry::metrics! {
    /// The metrics of the run store.
    pub struct Store {
        /// Statements of the run store, by what they do to what.
        pub queries: IntCounterVec = "db_query_total" {operation in STATEMENTS, model in MODELS},
            rows: "S3-12";
        /// Time of a statement of the run store, in seconds; a commit waits for the disk. Those
        /// that reach a file in one call have an equal part of its time.
        pub seconds: HistogramVec = "db_query_duration_seconds"
            {operation in STATEMENTS, model in MODELS}, buckets: BUCKETS, rows: "S3-13";
        /// Whether this orchestrator leads, where several could: 1 or 0.
        pub leads: IntGauge = "pangea_leader_active";
        /// Connections in use.
        pub connections_active: Each<IntGauge> = "db_pool_active_connections"
            {database in [DATABASE]}, aka: ["database_connections_active"], rows: "S3-14 S4-6";
        /// Connections that wait for work.
        pub connections_idle: Each<IntGauge> = "db_pool_idle_connections"
            {database in [DATABASE]}, rows: "S3-15";
        /// Callers that wait for a connection, or, to write, for the writer before them.
        pub waiting: Each<IntGauge> = "db_pool_waiting_requests" {database in [DATABASE]},
            rows: "S3-16";
        /// What the database or its pool could not do, by operation and kind.
        pub errors: IntCounterVec = "db_errors_total"
            {operation in OPERATIONS, error_type in ERRORS}, rows: "S3-17";
    }
}
