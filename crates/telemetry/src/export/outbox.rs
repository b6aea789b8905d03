//! Where records wait for the thread that sends them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;
use tokio::sync::Notify;

/// A bounded heap of records. Whoever puts one in never waits: a full outbox drops and counts.
#[derive(Debug)]
pub struct Outbox<T> {
    waiting: Mutex<Vec<T>>,
    capacity: usize,
    batch: usize,
    full_batch: Notify,
    dropped: IntCounter,
}

impl<T> Outbox<T> {
    /// Holds up to `capacity` records and wakes the sender at every `batch` of them. What does not
    /// fit is counted in `dropped`.
    #[must_use]
    pub fn new(capacity: usize, batch: usize, dropped: IntCounter) -> Self {
        Self {
            waiting: Mutex::default(),
            capacity,
            batch,
            full_batch: Notify::new(),
            dropped,
        }
    }

    /// Leaves a record to be sent, if there is room.
    pub fn put(&self, record: T) {
        let mut waiting = self.waiting();
        if waiting.len() >= self.capacity {
            drop(waiting);
            self.dropped.inc();
            return;
        }
        waiting.push(record);
        let wake = waiting.len() == self.batch;
        drop(waiting);
        if wake {
            self.full_batch.notify_one();
        }
    }

    /// Takes all that waits.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.waiting())
    }

    /// Puts back what could not be sent, before what came since; what does not fit is dropped and
    /// counted, the newest first.
    pub fn put_back(&self, mut records: Vec<T>) {
        let mut waiting = self.waiting();
        records.append(&mut waiting);
        let over = records.len().saturating_sub(self.capacity);
        records.truncate(self.capacity);
        *waiting = records;
        drop(waiting);
        self.dropped.inc_by(over as u64);
    }

    /// Returns when a batch is complete.
    pub async fn full_batch(&self) {
        self.full_batch.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(capacity: usize) -> Outbox<u32> {
        let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
        Outbox::new(capacity, 2, dropped)
    }

    #[test]
    fn a_full_outbox_drops_and_counts() {
        let outbox = outbox(3);
        for record in 0..5 {
            outbox.put(record);
        }
        assert_eq!(outbox.dropped.get(), 2);
        assert_eq!(outbox.take(), [0, 1, 2]);
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn what_could_not_be_sent_comes_first_again() {
        let outbox = outbox(3);
        outbox.put(0);
        outbox.put(1);
        let taken = outbox.take();
        outbox.put(2);
        outbox.put(3);
        outbox.put_back(taken);
        assert_eq!(outbox.dropped.get(), 1);
        assert_eq!(outbox.take(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_full_batch_wakes_the_sender() {
        let outbox = outbox(8);
        outbox.put(0);
        outbox.put(1);
        outbox.full_batch().await;
    }
}
