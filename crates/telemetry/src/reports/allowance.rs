//! How many errors are told in a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop that fails a thousand times a second has nothing new to tell after these, and each costs
/// its thread the scrubbing of an event and of the breadcrumbs before it. The rest become
/// breadcrumbs. Panics are told regardless.
const ERRORS_MAX: u32 = 60;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Allowance(Mutex<Option<Minute>>);

#[derive(Debug)]
struct Minute {
    since: Instant,
    told: u32,
}

impl Allowance {
    /// Whether one more may be told.
    pub(super) fn one_more(&self) -> bool {
        #[expect(
            clippy::disallowed_methods,
            reason = "a minute of whoever pays for events"
        )]
        self.one_more_at(Instant::now())
    }

    fn one_more_at(&self, now: Instant) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = match &mut *minute {
            Some(minute) if now.saturating_duration_since(minute.since) < MINUTE => minute,
            over => over.insert(Minute {
                since: now,
                told: 0,
            }),
        };
        minute.told = minute.told.saturating_add(1);
        minute.told <= ERRORS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_once_a_minute() {
        let allowance = Allowance::default();
        #[expect(clippy::disallowed_methods, reason = "an instant has no other source")]
        let start = Instant::now();
        let told = |at| (0..1000).filter(|_| allowance.one_more_at(at)).count();
        assert_eq!(told(start), 60);
        assert_eq!(told(start + Duration::from_secs(59)), 0);
        assert_eq!(told(start + MINUTE), 60);
    }
}
