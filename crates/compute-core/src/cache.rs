//! Bodies by digest, within a budget of bytes; the ones unused for longest go first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use federation::Digest;
use proto::v1::TensorMeta;
use telemetry::metrics::IntCounter;

/// A body as it was put.
#[derive(Debug)]
pub struct Held {
    /// What the bytes are.
    pub tensors: Vec<TensorMeta>,
    /// Little-endian numbers.
    pub bytes: Bytes,
}

/// What compute-core holds.
#[derive(Debug)]
pub struct Cache {
    budget_bytes: usize,
    inner: Mutex<Inner>,
    hits: Option<IntCounter>,
}

#[derive(Debug, Default)]
struct Inner {
    bodies: HashMap<Digest, Entry>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    held: Arc<Held>,
    last_use: u64,
    /// Whether nobody has used it yet: it had to be brought for that.
    is_new: bool,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            inner: Mutex::default(),
            hits: None,
        }
    }

    /// Counts in `hits` the uses of what was there already.
    #[must_use]
    pub fn counting(self, hits: IntCounter) -> Self {
        Self {
            hits: Some(hits),
            ..self
        }
    }

    /// How much it may hold.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// How much it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The body, if it is held, for somebody who uses it.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<Arc<Held>> {
        let mut inner = self.lock();
        let entry = inner.touch(digest)?;
        let is_hit = !std::mem::replace(&mut entry.is_new, false);
        self.hits.iter().for_each(|hits| hits.inc_by(is_hit.into()));
        Some(Arc::clone(&entry.held))
    }

    /// Whether the body is held; it is kept as if it were used now.
    #[must_use]
    pub fn holds(&self, digest: &Digest) -> bool {
        self.lock().touch(digest).is_some()
    }

    /// Holds a body. Makes room by letting go of others; those in use stay alive with their users.
    ///
    /// A body larger than the budget is held alone, so that any model can be trained. Yields how
    /// many bodies had to go.
    pub fn put(&self, digest: Digest, held: Held) -> u64 {
        let mut inner = self.lock();
        inner.uses += 1;
        let last_use = inner.uses;
        let size = held.bytes.len();
        let mut evicted = 0;
        while inner.bytes + size > self.budget_bytes && !inner.bodies.is_empty() {
            inner.evict_oldest();
            evicted += 1;
        }
        let entry = Entry {
            held: Arc::new(held),
            last_use,
            is_new: true,
        };
        inner.bytes += size;
        if let Some(replaced) = inner.bodies.insert(digest, entry) {
            inner.bytes -= replaced.held.bytes.len();
        }
        evicted
    }

    /// Lets go of a body that nobody will ask for any more; those who use it keep it until then.
    pub fn forget(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn touch(&mut self, digest: &Digest) -> Option<&mut Entry> {
        self.uses += 1;
        let now = self.uses;
        let entry = self.bodies.get_mut(digest)?;
        entry.last_use = now;
        Some(entry)
    }

    fn evict_oldest(&mut self) {
        let oldest = self.bodies.iter().min_by_key(|(_, entry)| entry.last_use);
        if let Some(digest) = oldest.map(|(digest, _)| *digest) {
            self.remove(&digest);
        }
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(entry) = self.bodies.remove(digest) {
            self.bytes -= entry.held.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(fill: u8) -> (Digest, Held) {
        let bytes = Bytes::from(vec![fill; 10]);
        (
            Digest::of(&bytes),
            Held {
                tensors: Vec::new(),
                bytes,
            },
        )
    }

    #[test]
    fn what_was_unused_for_longest_goes_first() {
        let cache = Cache::new(25);
        let [(a, held_a), (b, held_b), (c, held_c)] = [body(1), body(2), body(3)];
        assert_eq!(cache.put(a, held_a), 0);
        assert_eq!(cache.put(b, held_b), 0);
        assert!(cache.get(&a).is_some());
        assert_eq!(cache.put(c, held_c), 1);
        assert!(cache.get(&b).is_none(), "b was unused for longest");
        assert!(cache.get(&a).is_some() && cache.get(&c).is_some());
        assert_eq!(cache.bytes(), 20);
    }

    #[test]
    fn a_body_larger_than_the_budget_is_held_alone() {
        let cache = Cache::new(5);
        let [(a, held_a), (b, held_b)] = [body(1), body(2)];
        cache.put(a, held_a);
        cache.put(b, held_b);
        assert!(cache.get(&a).is_none());
        assert!(cache.get(&b).is_some());
    }

    #[test]
    fn a_forgotten_body_makes_room() {
        let cache = Cache::new(25);
        let [(a, held_a), (b, held_b)] = [body(1), body(2)];
        cache.put(a, held_a);
        cache.put(b, held_b);
        let user = cache.get(&a);
        cache.forget(&a);
        assert!(cache.get(&a).is_none() && cache.get(&b).is_some());
        assert_eq!(cache.bytes(), 10);
        assert!(user.is_some_and(|held| held.bytes[..] == [1; 10]));
        cache.forget(&a);
        assert_eq!(cache.bytes(), 10, "what is not held makes none");
    }

    #[test]
    fn the_same_body_twice_counts_once() {
        let cache = Cache::new(100);
        for _ in 0..2 {
            let (digest, held) = body(1);
            cache.put(digest, held);
        }
        assert_eq!(cache.bytes(), 10);
    }
}
