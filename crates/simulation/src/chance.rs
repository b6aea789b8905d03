//! What the seed decides.

use federation::seed;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

/// A stream of decisions.
#[derive(Debug)]
pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    /// The decisions about `subject`.
    pub(crate) fn of(seed: u64, subject: &str) -> Self {
        Self(seed::stream(seed, subject, &[]))
    }

    /// A number below `end`; 0 when there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 {
            0
        } else {
            self.0.random_range(0..end)
        }
    }

    /// One of `len` places.
    pub(crate) fn pick(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or_default()
    }

    /// The places below `len`, in an order of chance.
    pub(crate) fn shuffled(&mut self, len: usize) -> Vec<usize> {
        let mut places: Vec<_> = (0..len).collect();
        places.shuffle(&mut self.0);
        places
    }

    /// Yes in `share` of 1,000 cases.
    pub(crate) fn happens(&mut self, share: u32) -> bool {
        self.0.next_u32() % 1000 < share
    }
}
