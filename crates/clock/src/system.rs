//! The clock of the machine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::{Clock, Timestamp};

/// The machine's own time. `elapsed` counts from its creation.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where clocks get time from"
        )]
        let start = Instant::now();
        Self { start }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where clocks get time from"
        )]
        let now = SystemTime::now();
        // A machine whose clock stands before 1970 has not been set yet.
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp(0).after(since_epoch)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_lasts_as_long_as_asked() {
        let clock = SystemClock::default();
        let before = clock.elapsed();
        clock.sleep(Duration::from_millis(5)).await;
        assert!(clock.elapsed() - before >= Duration::from_millis(5));
    }

    #[test]
    fn the_calendar_is_past_2020() {
        assert!(SystemClock::default().now() > Timestamp(1_577_836_800_000));
    }
}
