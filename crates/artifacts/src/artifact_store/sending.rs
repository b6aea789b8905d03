//! Updates on their way up, behind the rounds that they are for.
//!
//! The directory is the queue: an update waits there until S3 has it. Of the waiting ones a bounded
//! number is held in memory; when there are more, and at the start, the directory is compared with
//! S3, and what S3 does not have waits again.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::behind::read_through;
use crate::{BlobError, BlobStore, Key, LocalStore, S3Store};

/// Most keys held in memory: some 100 bytes each.
const HELD_MAX: usize = 4096;

/// Updates that go up at the same time.
const AT_ONCE: usize = 4;

/// How long to wait after a failure; twice as long after each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// Longest wait: S3 has been away for a while and is asked often enough to be found back.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The task that sends; it ends with this.
#[derive(Debug)]
pub(super) struct Sending {
    waiting: watch::Sender<Waiting>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Waiting {
    held: VecDeque<Key>,
    under_way: usize,
    is_comparing: bool,
    /// Whether the directory may have updates that are neither held nor on S3.
    unheld: bool,
}

impl Waiting {
    fn add(&mut self, key: Key) {
        if self.held.contains(&key) {
            return;
        }
        if self.held.len() == HELD_MAX {
            self.unheld = true;
        } else {
            self.held.push_back(key);
        }
    }

    fn is_none(&self) -> bool {
        self.held.is_empty() && self.under_way == 0 && !self.is_comparing && !self.unheld
    }

    fn take(&mut self) -> Vec<Key> {
        let taken = self.held.len().min(AT_ONCE);
        self.under_way = taken;
        self.held.drain(..taken).collect()
    }
}

impl Sending {
    /// Begins with what an earlier process left.
    pub(super) fn begin(local: LocalStore, remote: S3Store) -> Self {
        let (waiting, _) = watch::channel(Waiting {
            held: VecDeque::new(),
            under_way: 0,
            is_comparing: false,
            unheld: true,
        });
        let sender = Sender {
            local,
            remote,
            waiting: waiting.clone(),
        };
        let task = tokio::spawn(sender.run()).abort_handle();
        Self { waiting, task }
    }

    pub(super) fn add(&self, key: &Key) {
        self.waiting.send_modify(|waiting| waiting.add(key.clone()));
    }

    pub(super) async fn drain(&self) {
        // The channel is open for as long as this has its other end.
        drop(self.waiting.subscribe().wait_for(Waiting::is_none).await);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Sender {
    local: LocalStore,
    remote: S3Store,
    waiting: watch::Sender<Waiting>,
}

impl Sender {
    async fn run(self) {
        let mut changes = self.waiting.subscribe();
        let mut pause = PAUSE_FIRST;
        while changes.wait_for(|waiting| !waiting.is_none()).await.is_ok() {
            self.show();
            let Err(error) = self.send_some().await else {
                pause = PAUSE_FIRST;
                self.show();
                continue;
            };
            let updates = self.show();
            warn!(updates, error = %error, "updates wait in the directory for S3");
            tokio::time::sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    fn show(&self) -> usize {
        let updates = {
            let waiting = self.waiting.borrow();
            waiting.held.len() + waiting.under_way
        };
        self.remote.meter().show_waiting(updates);
        updates
    }

    /// Sends a few of those that wait. What fails waits again, behind the others.
    async fn send_some(&self) -> Result<(), BlobError> {
        let must_compare = {
            let waiting = self.waiting.borrow();
            waiting.held.is_empty() && waiting.unheld
        };
        if must_compare {
            return self.compare().await;
        }
        let mut taken = Vec::new();
        self.waiting.send_modify(|waiting| taken = waiting.take());
        let sent = join_all(taken.iter().map(|key| self.send(key))).await;
        let mut failure = Ok(());
        self.waiting.send_modify(|waiting| {
            waiting.under_way = 0;
            for (key, sent) in taken.into_iter().zip(sent) {
                if let Err(error) = sent {
                    waiting.add(key);
                    failure = Err(error);
                }
            }
        });
        failure
    }

    async fn send(&self, key: &Key) -> Result<(), BlobError> {
        let Some((file, len, digest)) = read_through(key, self.local.path_of(key)).await? else {
            // Deleted while it waited.
            return Ok(());
        };
        self.remote.put_file(key, file, len, &digest).await?;
        if self.local.head(key).await?.is_none() {
            // Deleted while it went up, so maybe put after it was deleted there.
            self.remote.delete(key).await?;
        }
        Ok(())
    }

    /// Finds what the directory has and S3 has not.
    async fn compare(&self) -> Result<(), BlobError> {
        self.waiting.send_modify(|waiting| {
            waiting.is_comparing = true;
            // Before the look, so that what does not fit meanwhile is looked for again.
            waiting.unheld = false;
        });
        let missing = self.missing().await;
        let found = missing.as_ref().map_or(0, Vec::len);
        self.waiting.send_modify(|waiting| {
            waiting.is_comparing = false;
            match &missing {
                Ok(keys) => keys.iter().for_each(|key| waiting.add(key.clone())),
                Err(_away) => waiting.unheld = true,
            }
        });
        if found > 0 {
            info!(updates = found, "updates found that S3 does not have");
        }
        missing.map(|_keys| ())
    }

    async fn missing(&self) -> Result<Vec<Key>, BlobError> {
        let mut here = self.local.list("runs/").await?;
        here.retain(Key::is_update);
        let runs: BTreeSet<String> = here.iter().filter_map(Key::run_prefix).collect();
        let mut there = BTreeSet::new();
        for run in runs {
            there.extend(self.remote.list(&run).await?);
        }
        here.retain(|key| !there.contains(key));
        Ok(here)
    }
}

#[cfg(test)]
mod tests {
    use federation::{ClientId, RunId, TaskId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_not_held_is_looked_for_and_not_forgotten() {
        let run = RunId(Uuid::from_u128(7));
        let update = |client| {
            let task = TaskId {
                run,
                round: 1,
                client: ClientId(client),
                attempt: 1,
            };
            Key::update(&task, 1)
        };
        let mut waiting = Waiting {
            held: VecDeque::new(),
            under_way: 0,
            is_comparing: false,
            unheld: false,
        };
        let most = u32::try_from(HELD_MAX).unwrap();
        for client in (0..most).chain(0..2) {
            waiting.add(update(client));
        }
        assert_eq!(waiting.held.len(), HELD_MAX);
        assert!(!waiting.unheld, "all of them are held, once");
        waiting.add(update(most));
        while !waiting.take().is_empty() {}
        assert_eq!(waiting.under_way, 0);
        assert!(!waiting.is_none(), "one more is in the directory");
    }
}
