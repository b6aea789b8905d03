//! What queues and stores promise, through those that fail, to callers that ask again.
//!
//! Of the queue's faults these are the ones that its sentences survive. Tasks that are repeated, late
//! or lost are what the simulation is for.

use std::sync::Arc;
use std::time::Duration;

use artifacts::LocalStore;
use clock::{Clock, ManualClock, Timestamp};
use simulation::{FaultyQueue, FaultyStore, QueueFaults, StoreFaults};
use task_queue::MemoryQueue;

use crate::patient::{PatientQueue, PatientStore};

const SEED: u64 = 7;

mod store {
    use artifacts::contract::{self, Harness};

    use super::*;

    contract::check!(async {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("artifacts")).unwrap();
        let faults = StoreFaults {
            failing: 200,
            answers_lost: 200,
            torn: 200,
        };
        let faulty = FaultyStore::new(Arc::new(store), faults, SEED);
        Harness {
            store: Arc::new(PatientStore(Arc::new(faulty))),
            keep: Box::new(dir),
        }
    });
}

mod queue {
    use task_queue::contract::{self, Harness};

    use super::*;

    fn harness() -> Harness {
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let queue = MemoryQueue::new(Arc::clone(&shared));
        let queue = Arc::new(queue.with_max_deliveries(contract::MAX_DELIVERIES));
        let faults = QueueFaults {
            failing: 300,
            reordered: 500,
            longest: Duration::from_secs(1),
            ..QueueFaults::default()
        };
        let faulty = FaultyQueue::new(queue, shared, faults, SEED);
        Harness {
            queue: Arc::new(PatientQueue(Arc::new(faulty))),
            pass_time: Box::new(move |span| {
                clock.advance(span);
                Box::pin(tokio::task::yield_now())
            }),
        }
    }

    contract::check!(async { harness() });
    contract::check_dead!(async { harness() });
}
