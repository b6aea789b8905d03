//! What is counted of workers.

use federation::WorkerId;
use telemetry::metrics::{Bounded, Each, Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

/// Most workers with series of their own. Each has six.
const AGENTS_MAX: usize = 200;

/// What workers contribute: updates, numbers about work that goes on, and word of work that cannot
/// be done.
const CATEGORIES: [&str; 3] = ["gradient", "metric", "control"];

/// What becomes of updates.
const DECISIONS: [&str; 3] = ["proposed", "approved", "rejected"];

/// Which way bytes go.
pub const TO_WORKERS: &str = "to_workers";
/// The other way.
pub const FROM_WORKERS: &str = "from_workers";

/// Seconds there and back: from two tasks of one process to a line that is about to break.
const LATENCY_BUCKETS: [f64; 10] = [0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 0.5, 1.5, 5.5, 30.0];

telemetry::metrics! {
    /// The metrics of workers.
    pub struct Fleet {
        /// Workers that were heard of within three heartbeats.
        pub active_workers: IntGauge = "active_workers", rows: "S0-28";
        /// Workers that take tasks: heard of within three heartbeats, and not told to end.
        pub participants_active: IntGauge = "federated_participants_active",
            aka: ["federation_active_agents"], rows: "S2-8 S1-7";
        /// Workers that should be there: those with a session, and those whose session ended within
        /// the last hour; without those that were told to end.
        pub participants_registered: IntGauge = "federated_participants_total",
            aka: ["federation_total_agents"], rows: "S2-9 S1-23";
        /// Bytes of tasks, models, shards and updates that went to workers and came from them.
        pub bytes: Each<IntCounter> = "federated_bytes_sent_total"
            {direction in [TO_WORKERS, FROM_WORKERS]}, rows: "S2-13";
        /// Time of a message to a worker and its answer on the worker's session, in seconds.
        pub latency_seconds: Histogram = "federation_communication_latency_seconds",
            buckets: LATENCY_BUCKETS, rows: "S1-8";
        /// What workers contributed: updates (gradient), progress (metric), failures (control).
        pub thoughts: IntCounterVec = "collab_thoughts_total" {agent, category in CATEGORIES},
            rows: "S3-31";
        /// Updates that workers proposed, and those of them that count or do not.
        pub actions: IntCounterVec = "collab_actions_total" {agent, decision in DECISIONS},
            rows: "S3-32";
    }
}

/// The series of workers by name, of which there is a bounded number.
#[derive(Debug, Clone)]
pub struct Agents {
    names: Bounded,
    fleet: Fleet,
}

/// What one worker does.
#[derive(Debug, Clone)]
pub struct Agent {
    /// It reported an update.
    pub gradient: IntCounter,
    /// It told how far it is.
    pub metric: IntCounter,
    /// It told that a task cannot be done.
    pub control: IntCounter,
    /// It reported an update.
    pub proposed: IntCounter,
    /// Its update counts.
    pub approved: IntCounter,
    /// Its update does not.
    pub rejected: IntCounter,
}

impl Agents {
    pub(super) fn new(registry: &Registry, fleet: &Fleet) -> Self {
        Self {
            names: registry.bounded("collab_actions_total", AGENTS_MAX),
            fleet: fleet.clone(),
        }
    }

    /// The handles for `worker`, to be held during its session.
    #[must_use]
    pub fn of(&self, worker: &WorkerId) -> Agent {
        let agent = self.names.admit(&worker.0);
        let thought = |category| self.fleet.thoughts.with_label_values(&[agent, category]);
        let action = |decision| self.fleet.actions.with_label_values(&[agent, decision]);
        Agent {
            gradient: thought("gradient"),
            metric: thought("metric"),
            control: thought("control"),
            proposed: action("proposed"),
            approved: action("approved"),
            rejected: action("rejected"),
        }
    }
}
