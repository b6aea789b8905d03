//! What goes wrong, and how often.

use std::time::Duration;

use seams::Passage;

use crate::chance::Chance;

/// How often what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Calls of 1,000 that are not made.
    pub refused: u32,
    /// Calls of 1,000 whose answer is lost.
    pub answers_lost: u32,
    /// Calls of 1,000 that wait.
    pub slow: u32,
    /// The longest that one waits.
    pub longest_wait: Duration,
    /// Most times that each process is killed.
    pub kills: u32,
    /// When all of this ends, so that what was begun can be finished.
    pub until: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self {
            refused: 0,
            answers_lost: 0,
            slow: 0,
            longest_wait: Duration::ZERO,
            kills: 0,
            until: Duration::ZERO,
        }
    }

    /// As the seed has it: from seldom to often, of one kind or of all.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let mut chance = Chance::of(seed, "faults");
        let mut some = |most: u64| {
            let share = if chance.happens(600) {
                chance.below(most + 1)
            } else {
                0
            };
            u32::try_from(share).unwrap_or_default()
        };
        Self {
            refused: some(30),
            answers_lost: some(30),
            slow: some(50),
            longest_wait: Duration::from_secs(u64::from(1 + some(60))),
            kills: some(3),
            until: Duration::from_secs(600),
        }
    }

    /// What becomes of a call.
    pub(crate) fn passage(&self, now: Duration, chance: &mut Chance) -> Passage {
        if now >= self.until {
            return Passage::Free;
        }
        if chance.happens(self.refused) {
            return Passage::Refused;
        }
        if chance.happens(self.answers_lost) {
            return Passage::AnswerLost;
        }
        Passage::Free
    }

    /// How long a call waits.
    pub(crate) fn wait(&self, now: Duration, chance: &mut Chance) -> Duration {
        if now >= self.until || !chance.happens(self.slow) {
            return Duration::ZERO;
        }
        let longest = u64::try_from(self.longest_wait.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(chance.below(longest))
    }
}
