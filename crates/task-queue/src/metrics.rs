//! Every metric of this crate.

use telemetry::metrics::{Each, Gauge, Histogram, IntCounter, IntGauge};

/// Where a task in the queue is.
pub(crate) const VISIBLE: &str = "visible";
pub(crate) const LEASED: &str = "leased";
pub(crate) const DEAD: &str = "dead";

/// What happens to leases.
pub(crate) const GRANTED: &str = "granted";
pub(crate) const GRANTED_AGAIN: &str = "granted_again";
pub(crate) const EXTENDED: &str = "extended";
pub(crate) const GIVEN_BACK: &str = "given_back";
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";
pub(crate) const LOST: &str = "lost";

/// What a queue is asked for.
pub(crate) const OPERATIONS: [&str; 7] = [
    "send",
    "receive",
    "receive_dead",
    "extend",
    "give_back",
    "acknowledge",
    "depth",
];

/// Seconds that a task waits: nothing while workers are idle, a night when there are none.
const WAIT_BUCKETS: [f64; 11] = [
    0.005, 0.025, 0.1, 0.5, 1.5, 5.5, 15.0, 60.0, 300.0, 1800.0, 14_400.0,
];

telemetry::metrics! {
    /// The metrics of a queue, for whoever serves one.
    pub struct Metrics {
        /// Tasks in the queue, by whether the next worker would get them, somebody has them under a
        /// lease, or they are dead: delivered as often as the queue allows and never acknowledged,
        /// so that no worker gets them any more.
        pub depth: Each<IntGauge> = "training_queue_depth" {state in [VISIBLE, LEASED, DEAD]};
        /// Time since the oldest task in the queue that is not dead was sent, in seconds; 0 where
        /// there is none, or where the queue's backend cannot tell.
        pub oldest_seconds: Gauge = "training_queue_oldest_seconds";
        /// Time from sending a task to its first lease, in seconds.
        pub wait_seconds: Histogram = "training_queue_wait_seconds", buckets: WAIT_BUCKETS;
        /// Leases by what happened to them. Those granted again are of tasks that came back, because
        /// a lease ran out or was given back; leases of dead tasks are not among them. Lost counts what holders asked of leases that were not
        /// theirs any more: run out, given back or acknowledged before. A holder that never asks
        /// again is seen as granted again alone.
        pub leases: Each<IntCounter> = "training_leases_total" {
            outcome in [GRANTED, GRANTED_AGAIN, EXTENDED, GIVEN_BACK, ACKNOWLEDGED, LOST]
        };
        /// What the queue was asked for in vain: it could not be reached, or was full. A lease that
        /// is lost is no error.
        pub errors: Each<IntCounter> = "training_queue_errors_total" {operation in OPERATIONS};
    }
}
