//! What all parts of the orchestrator share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use artifacts::ArtifactStore;
use clock::Clock;
use federation::{Digest, RunId, Timestamp};
use proto::engine::Engine;
use task_queue::Counted;
use telemetry::Telemetry;
use uuid::Uuid;

use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::retention::Keeping;
use crate::store::Store;

/// The orchestrator's store, artifacts, queue, engine and fleet.
#[derive(Debug)]
pub struct Study {
    /// Facts.
    pub store: Store,
    /// Bytes.
    pub blobs: ArtifactStore,
    /// Where files are made before they become objects.
    pub spool: PathBuf,
    /// Tasks for workers.
    pub queue: Counted,
    /// compute-core, for initial parameters and evaluation.
    pub engine: Engine,
    /// Workers.
    pub fleet: Fleet,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where spans begin, and the registry of what is counted.
    pub telemetry: Telemetry,
    /// What is counted.
    pub metrics: Metrics,
    /// Threads of an aggregation.
    pub threads: NonZeroUsize,
    /// Rounds after which update objects go.
    pub keep_rounds: u32,
    /// What replays and retention share.
    pub keeping: Keeping,
    /// How often a run is looked at when nothing wakes it.
    pub interval: Duration,
}

impl Study {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Now, as deadlines are counted: it does not jump when the machine's clock is set, and means
    /// nothing outside of this process.
    #[must_use]
    pub fn steady(&self) -> Timestamp {
        Timestamp(0).after(self.clock.elapsed())
    }

    /// Has what is known only by looking be looked at before each scrape.
    pub fn look_on_scrape(self: &Arc<Self>) {
        // The study holds the registry, so the registry must not hold the study.
        let study = Arc::downgrade(self);
        self.telemetry.registry.on_scrape(move || {
            if let Some(study) = study.upgrade() {
                study.look();
            }
        });
    }

    fn look(&self) {
        self.queue.look();
        self.store.look();
        let now = self.now();
        self.metrics.agents.look(now);
        self.metrics.parked.look(now);
        let census = self.fleet.census(now);
        let metrics = &self.metrics.fleet;
        let whole = |count| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.active_workers.set(whole(census.heard));
        metrics.participants_active.set(whole(census.active));
        metrics
            .participants_registered
            .set(whole(census.registered));
    }

    /// A new run's id: a `UUIDv7`, so that ids sort by the time of submission. What is chance in it
    /// comes from the caller's key, of which there is one for each run.
    #[must_use]
    pub fn new_run_id(&self, key: &str) -> RunId {
        let mut chance = [0_u8; 10];
        chance.copy_from_slice(&Digest::of(key.as_bytes()).bytes()[..10]);
        RunId(uuid::Builder::from_unix_timestamp_millis(self.now().0, &chance).into_uuid())
    }

    /// A key for a caller that chose none.
    #[must_use]
    pub fn new_key() -> String {
        Uuid::new_v4().to_string()
    }
}
