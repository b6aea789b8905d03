//! Every metric of this crate, by subject, and those of the queue and the store that it serves.

pub mod fleet;
pub mod retention;
pub mod rounds;
pub mod runs;
pub mod store;

use telemetry::metrics::{Error, Registry};

use fleet::{Agents, Fleet};
use retention::Retention;
use rounds::{Parked, Rounds};
use runs::Runs;
use store::Store;

/// The metrics of the orchestrator.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Of runs.
    pub runs: Runs,
    /// Of rounds.
    pub rounds: Rounds,
    /// Of runs that ended a little while ago.
    pub parked: Parked,
    /// Of workers.
    pub fleet: Fleet,
    /// Of each worker by name.
    pub agents: Agents,
    /// Of what is kept and removed.
    pub retention: Retention,
    /// Of the run store.
    pub store: Store,
    /// Of the task queue.
    pub queue: task_queue::Metrics,
    /// Of the artifact store.
    pub artifacts: artifacts::Metrics,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    ///
    /// [`telemetry::metrics::Error`] when a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let fleet = Fleet::register(registry)?;
        Ok(Self {
            runs: Runs::register(registry)?,
            rounds: Rounds::register(registry)?,
            parked: Parked::default(),
            agents: Agents::new(registry, &fleet),
            fleet,
            retention: Retention::register(registry)?,
            store: Store::register(registry)?,
            queue: task_queue::Metrics::register(registry)?,
            artifacts: artifacts::Metrics::register(registry)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use telemetry::metrics::lint;

    use super::*;

    #[test]
    fn the_catalogue_can_be_relied_on() {
        let registry = Registry::new("test").unwrap();
        Metrics::register(&registry).unwrap();
        assert_eq!(lint::problems(&registry.families()), [""; 0]);
    }
}
