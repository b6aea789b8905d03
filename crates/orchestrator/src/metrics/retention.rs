//! What is counted of what is kept, and of what is removed.

use telemetry::metrics::{Each, IntCounter, IntGauge};

/// What the artifact store holds.
pub const HELD: [&str; 7] = [
    "datasets",
    "shards",
    "models",
    "checkpoints",
    "updates",
    "uploads",
    "other",
];

/// What nobody needs any more.
pub const GARBAGE: [&str; 5] = [
    "updates",
    "checkpoints",
    "shards",
    "unknown_runs",
    "uploads",
];

/// What can come of a replay.
const OUTCOMES: [&str; 2] = ["equal", "different"];

telemetry::metrics! {
    /// The metrics of retention.
    pub struct Retention {
        /// Bytes in the artifact store by what they are, as of the last time somebody counted them:
        /// a garbage collection, or a commit, a submission or an import under a budget.
        pub bytes: Each<IntGauge> = "pangea_artifacts_bytes" {kind in HELD};
        /// Bytes that the artifact store may hold; 0 when there is no limit.
        pub budget: IntGauge = "pangea_artifacts_budget_bytes";
        /// Objects that garbage collections removed, by kind.
        pub removed: Each<IntCounter> = "pangea_garbage_removed_total" {kind in GARBAGE};
        /// Bytes that garbage collections removed, by kind.
        pub removed_bytes: Each<IntCounter> = "pangea_garbage_removed_bytes_total"
            {kind in GARBAGE};
        /// Submissions and imports that were refused because the artifact store is over its budget.
        pub refused: IntCounter = "pangea_over_budget_refusals_total";
        /// Rounds that were replayed, by what came of it.
        pub replays: Each<IntCounter> = "pangea_replays_total" {outcome in OUTCOMES};
    }
}
