//! The order in which rows are seen.

use federation::seed;
use rand::seq::SliceRandom;
use std::ops::Range;

/// Batches over a shard, shuffled anew for every pass.
pub(super) struct Batches {
    /// A permutation of the shard's rows.
    order: Vec<usize>,
    batch_size: usize,
    seed: u64,
    /// Passes begun.
    epoch: u64,
    /// First place in `order` that this pass has not seen.
    next: usize,
}

impl Batches {
    /// Room for shards of up to `rows_max` rows.
    pub(super) fn new(rows_max: usize, batch_size: usize) -> Self {
        Self {
            order: Vec::with_capacity(rows_max),
            batch_size,
            seed: 0,
            epoch: 0,
            next: 0,
        }
    }

    /// Starts over, with a shard of `rows` rows.
    pub(super) fn restart(&mut self, rows: usize, seed: u64) {
        self.order.clear();
        self.order.extend(0..rows);
        self.seed = seed;
        self.epoch = 0;
        self.next = rows;
    }

    /// The rows of the next batch, and whether it is the first of a pass.
    ///
    /// A pass ends with a smaller batch where the batch size does not divide the rows. Each pass
    /// permutes the ascending order by its own stream `shuffle`, so it does not depend on others.
    pub(super) fn next(&mut self) -> (&[usize], bool) {
        let opens = self.next == self.order.len();
        if opens {
            for (place, row) in self.order.iter_mut().enumerate() {
                *row = place;
            }
            self.order
                .shuffle(&mut seed::stream(self.seed, "shuffle", &[self.epoch]));
            self.epoch += 1;
            self.next = 0;
        }
        let batch = self.next..self.order.len().min(self.next + self.batch_size);
        self.next = batch.end;
        (self.rows(batch), opens)
    }

    fn rows(&self, places: Range<usize>) -> &[usize] {
        &self.order[places]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the first two passes over ten rows.
    fn two_passes(seed: u64) -> (Vec<usize>, Vec<usize>) {
        let mut batches = Batches::new(10, 4);
        batches.restart(10, seed);
        let mut pass =
            || -> Vec<usize> { (0..3).flat_map(|_| batches.next().0.to_vec()).collect() };
        (pass(), pass())
    }

    #[test]
    fn every_pass_sees_every_row_once() {
        let (first, second) = two_passes(1);
        for mut pass in [first, second] {
            pass.sort_unstable();
            assert_eq!(pass, Vec::from_iter(0..10));
        }
    }

    #[test]
    fn passes_and_seeds_differ_and_repeat() {
        let (first, second) = two_passes(1);
        assert_ne!(first, second);
        assert_ne!(first, two_passes(2).0);
        assert_eq!((first, second), two_passes(1));
    }

    #[test]
    fn only_the_first_batch_opens_a_pass_and_the_last_is_smaller() {
        let mut batches = Batches::new(10, 4);
        batches.restart(10, 1);
        let seen: Vec<_> = (0..4)
            .map(|_| {
                let (rows, opens) = batches.next();
                (rows.len(), opens)
            })
            .collect();
        assert_eq!(seen, [(4, true), (4, false), (2, false), (4, true)]);
    }
}
