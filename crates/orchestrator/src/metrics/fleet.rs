//! What is counted of workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use federation::{Timestamp, WorkerId};
use telemetry::metrics::{Bounded, Each, Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

/// Most workers with series of their own. Each has six.
const AGENTS_MAX: usize = 200;

/// How long the series of a worker stay once it has no session: as long as it is missed, and long
/// enough for its last numbers to be scraped.
const SHOWN_FOR: Duration = Duration::from_secs(60 * 60);

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
        /// Time of a message to a worker and its answer on the worker's session, in seconds; one
        /// message after the other, and none whose answer takes a minute.
        pub latency_seconds: Histogram = "federation_communication_latency_seconds",
            buckets: LATENCY_BUCKETS, rows: "S1-8";
        /// What workers contributed: updates (gradient), progress (metric), failures (control). A
        /// worker's series end when it has been gone for an hour.
        pub thoughts: IntCounterVec = "collab_thoughts_total" {agent, category in CATEGORIES},
            rows: "S3-31";
        /// Updates that workers proposed, and those of them that count or do not: each is counted
        /// once, with its verdict. A worker's series end when it has been gone for an hour.
        pub actions: IntCounterVec = "collab_actions_total" {agent, decision in DECISIONS},
            rows: "S3-32";
    }
}

/// The series of workers by name, of which there is a bounded number. Clones share them.
#[derive(Debug, Clone)]
pub struct Agents {
    names: Bounded,
    fleet: Fleet,
    known: Arc<Mutex<BTreeMap<WorkerId, Known>>>,
}

/// A worker with series of its own.
#[derive(Debug)]
struct Known {
    // Held by the worker's sessions besides.
    agent: Arc<Agent>,
    // When it was first seen to have no session; none while it has one.
    gone_at: Option<Timestamp>,
}

/// What one worker does.
#[derive(Debug)]
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

impl Agent {
    /// An update of its was judged. One that is reported again is the same update.
    pub fn judged(&self, counts: bool) {
        self.gradient.inc();
        self.proposed.inc();
        if counts {
            self.approved.inc();
        } else {
            self.rejected.inc();
        }
    }
}

impl Agents {
    pub(super) fn new(registry: &Registry, fleet: &Fleet) -> Self {
        Self {
            names: registry.bounded("collab_actions_total", AGENTS_MAX),
            fleet: fleet.clone(),
            known: Arc::default(),
        }
    }

    /// The handles for `worker`, to be held during its session. Where there are too many workers,
    /// one that is here goes before the one that has been gone for longest.
    #[must_use]
    pub fn of(&self, worker: &WorkerId, now: Timestamp) -> Arc<Agent> {
        let mut known = self.known();
        self.end_old(&mut known, now);
        if let Some(known) = known.get_mut(worker) {
            known.gone_at = None;
            return Arc::clone(&known.agent);
        }
        if known.len() >= AGENTS_MAX {
            self.end_oldest(&mut known);
        }
        let name = self.names.admit(&worker.0);
        let agent = Arc::new(self.agent(name));
        if name == worker.0 {
            let known_now = Known {
                agent: Arc::clone(&agent),
                gone_at: None,
            };
            known.insert(worker.clone(), known_now);
        }
        agent
    }

    /// Ends the series of workers that have had no session for an hour.
    pub fn look(&self, now: Timestamp) {
        self.end_old(&mut self.known(), now);
    }

    fn agent(&self, name: &str) -> Agent {
        let thought = |category| self.fleet.thoughts.with_label_values(&[name, category]);
        let action = |decision| self.fleet.actions.with_label_values(&[name, decision]);
        Agent {
            gradient: thought("gradient"),
            metric: thought("metric"),
            control: thought("control"),
            proposed: action("proposed"),
            approved: action("approved"),
            rejected: action("rejected"),
        }
    }

    fn end_old(&self, known: &mut BTreeMap<WorkerId, Known>, now: Timestamp) {
        known.retain(|worker, known| {
            if Arc::strong_count(&known.agent) > 1 {
                known.gone_at = None;
                return true;
            }
            let stays = now.since(*known.gone_at.get_or_insert(now)) < SHOWN_FOR;
            if !stays {
                self.end(worker);
            }
            stays
        });
    }

    fn end_oldest(&self, known: &mut BTreeMap<WorkerId, Known>) {
        let gone = known
            .iter()
            .filter_map(|(worker, known)| Some((known.gone_at?, worker)));
        if let Some(oldest) = gone.min().map(|(_, worker)| worker.clone()) {
            known.remove(&oldest);
            self.end(&oldest);
        }
    }

    // Under the lock, so that a session which begins does not lose its series.
    fn end(&self, worker: &WorkerId) {
        for category in CATEGORIES {
            drop(
                self.fleet
                    .thoughts
                    .remove_label_values(&[&worker.0, category]),
            );
        }
        for decision in DECISIONS {
            drop(
                self.fleet
                    .actions
                    .remove_label_values(&[&worker.0, decision]),
            );
        }
        self.names.release(&worker.0);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use telemetry::metrics::exposition;

    use super::*;

    const MINUTE: u64 = 60_000;

    /// What the orchestrator shows besides what it shows of each worker, and some to spare.
    const OTHER_SERIES_MAX: usize = 800;

    fn worker(number: usize) -> WorkerId {
        WorkerId(format!("w{number}"))
    }

    fn agents(registry: &Registry) -> Agents {
        crate::metrics::Metrics::register(registry).unwrap().agents
    }

    fn series(registry: &Registry) -> Vec<String> {
        let text = exposition::text(&registry.snapshot()).unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.map(str::to_owned).collect()
    }

    fn shows(registry: &Registry, worker: &str) -> bool {
        let label = format!("agent=\"{worker}\"");
        series(registry).iter().any(|line| line.contains(&label))
    }

    #[test]
    fn a_worker_that_comes_back_within_the_hour_goes_on_counting() {
        let registry = Registry::new("test").unwrap();
        let agents = agents(&registry);
        agents.of(&worker(0), Timestamp(0)).gradient.inc();
        agents.look(Timestamp(1));
        agents.look(Timestamp(60 * MINUTE));
        let again = agents.of(&worker(0), Timestamp(60 * MINUTE));
        assert_eq!(again.gradient.get(), 1);
        agents.look(Timestamp(600 * MINUTE));
        assert!(shows(&registry, "w0"), "it has a session");
        drop(again);
        agents.look(Timestamp(600 * MINUTE));
        agents.look(Timestamp(660 * MINUTE - 1));
        assert!(shows(&registry, "w0"));
        agents.look(Timestamp(660 * MINUTE));
        assert!(!shows(&registry, "w0"));
        assert_eq!(
            agents
                .of(&worker(0), Timestamp(660 * MINUTE))
                .gradient
                .get(),
            0
        );
    }

    #[test]
    fn one_that_is_here_goes_before_one_that_is_gone_and_not_before_others_that_are_here() {
        let registry = Registry::new("test").unwrap();
        let agents = agents(&registry);
        let now = Timestamp(0);
        let mut here: Vec<_> = (0..AGENTS_MAX)
            .map(|n| agents.of(&worker(n), now))
            .collect();
        let other = agents.of(&worker(AGENTS_MAX), now);
        assert!(!shows(&registry, "w200") && shows(&registry, "__other__"));
        drop((here.remove(7), other));
        let _late = agents.of(&worker(AGENTS_MAX), Timestamp(1));
        assert!(shows(&registry, "w200") && !shows(&registry, "w7"));
    }

    #[test]
    fn ten_thousand_workers_stay_below_the_budget_of_series() {
        let registry = Registry::new("test").unwrap();
        let agents = agents(&registry);
        let budget = OTHER_SERIES_MAX + (AGENTS_MAX + 1) * (CATEGORIES.len() + DECISIONS.len());
        let here: Vec<_> = (0..5_000)
            .map(|n| agents.of(&worker(n), Timestamp(0)))
            .collect();
        assert!(
            series(&registry).len() < budget,
            "{}",
            series(&registry).len()
        );
        drop(here);
        for number in 5_000..10_000 {
            drop(agents.of(&worker(number), Timestamp(0)));
        }
        assert!(
            series(&registry).len() < budget,
            "{}",
            series(&registry).len()
        );
        assert!(shows(&registry, "w9999"), "it came last");
    }
}
