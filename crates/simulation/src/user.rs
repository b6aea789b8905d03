//! Who submits jobs and watches them, whatever happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::{Client, ClientError, JobSpec, Patience, v1};
use clock::{Clock, ManualClock};
use futures::{StreamExt, TryStreamExt};

/// Between two tries of what failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A watcher that gives up only when the simulation does.
const PATIENCE: Patience = Patience {
    first_wait: Duration::from_millis(100),
    longest_wait: Duration::from_secs(5),
    silence: Duration::from_secs(7 * 24 * 60 * 60),
};

/// What the user has seen. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<BTreeMap<String, Vec<v1::Event>>>>);

impl Seen {
    /// The events of each job, by its key.
    pub(crate) fn events(&self) -> MutexGuard<'_, BTreeMap<String, Vec<v1::Event>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Submits a job under `key` until that is heard, and watches its run to its end.
pub(crate) async fn follow(
    client: Client,
    clock: Arc<ManualClock>,
    key: String,
    job: JobSpec,
    seen: Seen,
) -> Result<v1::Run, ClientError> {
    let run = loop {
        match client.submit(&job, key.clone()).await {
            Ok(submitted) => break submitted.run.run,
            Err(error) if error.is_transient() => clock.sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    };
    let mut events = client.watch(&run, 0, PATIENCE).boxed();
    while let Some(event) = events.try_next().await? {
        seen.events().entry(key.clone()).or_default().push(event);
    }
    loop {
        match client.run(&run).await {
            Err(error) if error.is_transient() => clock.sleep(PAUSE).await,
            run => return run,
        }
    }
}
