//! Which clients take part in a round, and how many of them must report.
//!
//! A cohort follows from the run's seed and the round alone, never from which workers are healthy.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::seq::index;

use crate::{ClientId, fraction, seed};

/// How many clients a round asks, how many must answer, and by when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CohortSpec {
    /// The part of all clients that a round asks, above 0 and at most 1.
    pub fraction: f64,
    /// A round asks at least this many.
    pub min_clients: NonZeroU32,
    /// The part of the cohort that must report before the round may close, above 0 and at most 1.
    pub quorum: f64,
    /// How long a round waits for reports.
    pub deadline: Duration,
}

impl CohortSpec {
    /// How many of `clients` a round asks: `fraction` of them to the nearest whole number (halves
    /// upwards), no fewer than `min_clients`, no more than there are.
    ///
    /// # Source
    ///
    /// `FedAvg` takes `max(C·N, 1)` and leaves the rounding open (McMahan et al. 2017, Algorithm 1,
    /// <https://arxiv.org/abs/1602.05629>).
    #[must_use]
    pub fn size_among(&self, clients: u32) -> usize {
        let wanted = fraction::nearest(self.fraction, clients as usize);
        wanted
            .max(self.min_clients.get() as usize)
            .min(clients as usize)
    }

    /// How many of a cohort of `cohort_len` must report: `quorum` of it, rounded up, at least one
    /// and at most all.
    #[must_use]
    pub fn quorum_of(&self, cohort_len: usize) -> usize {
        fraction::at_least(self.quorum, cohort_len)
            .max(1)
            .min(cohort_len)
    }
}

/// The cohort of `round` among the clients `0..clients`, in ascending order.
///
/// Every set of [`CohortSpec::size_among`] clients is equally likely.
#[must_use]
pub fn sample(seed: u64, round: u32, clients: u32, spec: &CohortSpec) -> Vec<ClientId> {
    let mut rng = seed::stream(seed, "cohort", &[u64::from(round)]);
    let size = spec.size_among(clients);
    let mut drawn = vec![false; clients as usize];
    for client in index::sample(&mut rng, clients as usize, size) {
        drawn[client] = true;
    }
    (0..clients)
        .zip(drawn)
        .filter(|(_, drawn)| *drawn)
        .map(|(client, _)| ClientId(client))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(fraction: f64, min_clients: u32, quorum: f64) -> CohortSpec {
        CohortSpec {
            fraction,
            min_clients: NonZeroU32::new(min_clients).unwrap(),
            quorum,
            deadline: Duration::from_secs(600),
        }
    }

    #[test]
    fn a_cohort_is_a_fraction_within_its_bounds() {
        assert_eq!(spec(0.1, 1, 1.0).size_among(30), 3);
        assert_eq!(spec(0.5, 1, 1.0).size_among(5), 3);
        assert_eq!(spec(0.001, 1, 1.0).size_among(30), 1);
        assert_eq!(spec(0.1, 8, 1.0).size_among(30), 8);
        assert_eq!(spec(1.0, 9, 1.0).size_among(8), 8);
        assert_eq!(spec(1.0, 1, 1.0).size_among(0), 0);
    }

    #[test]
    fn a_quorum_is_rounded_up_and_never_nobody() {
        assert_eq!(spec(1.0, 1, 0.5).quorum_of(5), 3);
        assert_eq!(spec(1.0, 1, 0.1).quorum_of(30), 3);
        assert_eq!(spec(1.0, 1, 0.01).quorum_of(5), 1);
        assert_eq!(spec(1.0, 1, 1.0).quorum_of(5), 5);
    }

    #[test]
    fn rounds_and_seeds_draw_their_own_cohorts() {
        let tenth = spec(0.1, 1, 1.0);
        let first = sample(7, 1, 100, &tenth);
        assert_eq!(first, sample(7, 1, 100, &tenth));
        assert_ne!(first, sample(7, 2, 100, &tenth));
        assert_ne!(first, sample(8, 1, 100, &tenth));
        assert!(first.is_sorted());
    }

    #[test]
    fn over_many_rounds_every_client_gets_its_turn() {
        let half = spec(0.5, 1, 1.0);
        let mut turns = [0_u32; 8];
        for round in 1..=1000 {
            for client in sample(7, round, 8, &half) {
                turns[client.0 as usize] += 1;
            }
        }
        // Binomial(1000, 1/2) has a standard deviation of 15.8; this allows five of them.
        assert!(turns.iter().all(|count| count.abs_diff(500) < 80));
    }

    #[test]
    fn the_cohorts_of_past_runs_can_be_drawn_again() {
        // A release that changes these numbers cannot resume or reproduce a run of an older one.
        let numbers: Vec<u32> = sample(7, 1, 20, &spec(0.25, 1, 1.0))
            .into_iter()
            .map(|client| client.0)
            .collect();
        assert_eq!(numbers, [2, 3, 8, 11, 15]);
    }
}
