//! Where records wait for the thread that sends them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounter, IntGauge};
use tokio::sync::Notify;

/// A bounded heap of records. Whoever puts one in never waits: a full outbox drops and counts.
#[derive(Debug)]
pub struct Outbox<T> {
    waiting: Mutex<Waiting<T>>,
    capacity: usize,
    batch: usize,
    full_batch: Notify,
    dropped: IntCounter,
    depth: Option<IntGauge>,
}

#[derive(Debug)]
struct Waiting<T> {
    records: VecDeque<T>,
    /// Whether nobody sends any longer.
    closed: bool,
}

impl<T> Outbox<T> {
    /// Holds up to `capacity` records and wakes the sender at every `batch` of them. What does not
    /// fit is counted in `dropped`.
    #[must_use]
    pub fn new(capacity: usize, batch: usize, dropped: IntCounter) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                records: VecDeque::new(),
                closed: false,
            }),
            capacity,
            batch,
            full_batch: Notify::new(),
            dropped,
            depth: None,
        }
    }

    /// The same, with what waits shown in `depth`.
    #[must_use]
    pub fn shown_in(mut self, depth: IntGauge) -> Self {
        self.depth = Some(depth);
        self
    }

    /// Leaves a record to be sent, if there is room.
    pub fn put(&self, record: T) {
        let mut waiting = self.waiting();
        if waiting.closed || waiting.records.len() >= self.capacity {
            drop(waiting);
            self.dropped.inc();
            return;
        }
        waiting.records.push_back(record);
        let len = self.show(&waiting);
        drop(waiting);
        if len == self.batch {
            self.full_batch.notify_one();
        }
    }

    /// Takes all that waits.
    pub fn take(&self) -> Vec<T> {
        let mut waiting = self.waiting();
        let records = std::mem::take(&mut waiting.records);
        self.show(&waiting);
        records.into()
    }

    /// Takes what waited longest, at most a batch.
    pub fn take_batch(&self) -> Vec<T> {
        let mut waiting = self.waiting();
        let len = waiting.records.len().min(self.batch);
        let records = waiting.records.drain(..len).collect();
        self.show(&waiting);
        records
    }

    /// Puts back what could not be sent, before what came since; what does not fit is dropped and
    /// counted, the newest first.
    pub fn put_back(&self, records: Vec<T>) {
        let mut waiting = self.waiting();
        for record in records.into_iter().rev() {
            waiting.records.push_front(record);
        }
        let over = waiting.records.len().saturating_sub(self.capacity);
        waiting.records.truncate(self.capacity);
        self.show(&waiting);
        drop(waiting);
        self.lose(over);
    }

    /// Counts records that were taken and will not arrive.
    pub fn lose(&self, records: usize) {
        self.dropped.inc_by(records as u64);
    }

    /// Drops and counts what waits and whatever comes from now on. Says how much waited.
    pub fn close(&self) -> usize {
        let mut waiting = self.waiting();
        waiting.closed = true;
        let records = std::mem::take(&mut waiting.records);
        self.show(&waiting);
        drop(waiting);
        self.lose(records.len());
        records.len()
    }

    /// Records that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting().records.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records in a full batch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns when a batch is complete.
    pub async fn full_batch(&self) {
        self.full_batch.notified().await;
    }

    fn show(&self, waiting: &Waiting<T>) -> usize {
        let len = waiting.records.len();
        if let Some(depth) = &self.depth {
            depth.set(i64::try_from(len).unwrap_or(i64::MAX));
        }
        len
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
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
        let taken = outbox.take_batch();
        outbox.put(2);
        outbox.put(3);
        outbox.put_back(taken);
        assert_eq!(outbox.dropped.get(), 1);
        assert_eq!(outbox.take_batch(), [0, 1]);
        assert_eq!(outbox.take_batch(), [2]);
    }

    #[test]
    fn what_waits_is_shown() {
        let depth = IntGauge::new("depth", "Depth.").unwrap();
        let outbox = outbox(3).shown_in(depth.clone());
        outbox.put(0);
        outbox.put(1);
        outbox.put(2);
        assert_eq!(depth.get(), 3);
        drop(outbox.take_batch());
        assert_eq!(depth.get(), 1);
        outbox.put_back(vec![0, 1]);
        assert_eq!(depth.get(), 3);
    }

    #[test]
    fn a_closed_outbox_drops_what_waits_and_what_comes() {
        let outbox = outbox(3);
        outbox.put(0);
        outbox.put(1);
        assert_eq!(outbox.close(), 2);
        outbox.put(2);
        assert_eq!(outbox.dropped.get(), 3);
        assert!(outbox.is_empty());
    }

    #[tokio::test]
    async fn a_full_batch_wakes_the_sender() {
        let outbox = outbox(8);
        outbox.put(0);
        outbox.put(1);
        outbox.full_batch().await;
    }
}
