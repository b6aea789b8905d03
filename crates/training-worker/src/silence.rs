//! Noticing that what should go on stands still.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;

/// When something was last heard of what goes on.
#[derive(Debug)]
pub(crate) struct LastWord<'a> {
    clock: &'a dyn Clock,
    /// None while nothing is expected.
    at: Mutex<Option<Duration>>,
}

impl<'a> LastWord<'a> {
    /// Something is heard of it now.
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        Self {
            clock,
            at: Mutex::new(Some(clock.elapsed())),
        }
    }

    /// Something is heard of it.
    pub(crate) fn hear(&self) {
        self.set(Some(self.clock.elapsed()));
    }

    /// Nothing is to be heard of it, until something is.
    pub(crate) fn expect_none(&self) {
        self.set(None);
    }

    fn set(&self, at: Option<Duration>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Returns when nothing was heard for `longest`.
    pub(crate) async fn until_silent_for(&self, longest: Duration) {
        loop {
            let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.elapsed();
            let silent = now.saturating_sub(at.unwrap_or(now));
            if silent >= longest {
                return;
            }
            self.clock.sleep(longest.saturating_sub(silent)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use clock::{ManualClock, Timestamp};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_heard_of_in_time_is_not_silent_however_long_it_takes() {
        let clock = ManualClock::new(Timestamp(0));
        let word = LastWord::new(&clock);
        let mut silence = Box::pin(word.until_silent_for(LONGEST));
        let mut is_silent = async |passed: Duration| {
            clock.advance(passed);
            tokio::select! {
                biased;
                () = &mut silence => true,
                () = tokio::task::yield_now() => false,
            }
        };
        for _minute in 0..6 {
            assert!(!is_silent(LONGEST / 2).await);
            word.hear();
        }
        word.expect_none();
        for _minute in 0..6 {
            assert!(!is_silent(LONGEST).await);
        }
        word.hear();
        assert!(!is_silent(LONGEST / 2).await);
        assert!(is_silent(LONGEST).await);
    }
}
