//! Which files stand for objects on S3, and who may change them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::Key;

/// Most files that are remembered. Beyond it all are forgotten, which costs one look each.
const CURRENT_MAX: usize = 65_536;

/// Locks kept before those that nobody holds are let go.
const LOCKS_KEPT: usize = 1024;

/// What is known of the files in the directory.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Those that have what S3 has.
    current: Mutex<HashSet<Key>>,
    pub(super) locks: Locks,
}

impl Copies {
    pub(super) fn is_current(&self, key: &Key) -> bool {
        open(&self.current).contains(key)
    }

    pub(super) fn keep(&self, key: &Key) {
        let mut current = open(&self.current);
        if current.len() >= CURRENT_MAX {
            current.clear();
        }
        current.insert(key.clone());
    }

    pub(super) fn forget(&self, key: &Key) {
        open(&self.current).remove(key);
    }

    pub(super) fn forget_all(&self) {
        open(&self.current).clear();
    }
}

/// One lock for each key that somebody is at work on.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// Waits until nobody else is at work on `key`.
    pub(super) async fn lock(&self, key: &Key) -> OwnedMutexGuard<()> {
        let lock = self.of(key);
        lock.lock_owned().await
    }

    fn of(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = open(&self.0);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= LOCKS_KEPT {
            locks.retain(|_key, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// Whoever panicked with the lock in hand left nothing half done.
pub(super) fn open<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
