//! Waiting longer after each failure in a row.

use std::time::Duration;

use clock::Clock;

const FIRST: Duration = Duration::from_millis(100);

/// Short enough that a service which returns is found at once by a person's measure.
const LONGEST: Duration = Duration::from_secs(2);

/// How long to wait before trying again.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The span to wait now; the one after it is twice as long, up to a limit.
    pub fn step(&mut self) -> Duration {
        let span = self.next;
        self.next = (span * 2).min(LONGEST);
        span
    }

    /// Waits for one step.
    pub async fn wait(&mut self, clock: &dyn Clock) {
        clock.sleep(self.step()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let spans: Vec<_> = (0..7).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(spans, [100, 200, 400, 800, 1600, 2000, 2000]);
    }
}
