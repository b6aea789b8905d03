//! What time it is: a system clock and a manual one.
//!
//! Everything above the bedrock takes its time from a [`Clock`], so that tests and simulations own
//! it. What is being timed is none of this crate's business.

mod manual;
mod system;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

pub use federation::Timestamp;
pub use manual::ManualClock;
pub use system::SystemClock;

/// A source of time.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// The moment it is, as people and records count it. It may jump, even backwards.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start. Never goes backwards, so it is what deadlines are made of.
    fn elapsed(&self) -> Duration;

    /// Returns when `span` has passed. Dropping the future is the way to stop waiting.
    async fn sleep(&self, span: Duration);
}

/// Nothing came within the time given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no answer within {span:?}")]
pub struct Elapsed {
    /// How long was waited.
    pub span: Duration,
}

/// Waits for `future`, but no longer than `span`.
///
/// A future that is ready wins over a deadline that has come.
///
/// # Errors
///
/// [`Elapsed`] when `span` passed first; the future is dropped then.
pub async fn timeout<F: Future>(
    clock: &dyn Clock,
    span: Duration,
    future: F,
) -> Result<F::Output, Elapsed> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = clock.sleep(span) => Err(Elapsed { span }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn an_answer_in_time_is_passed_on() {
        let clock = ManualClock::new(Timestamp(0));
        assert_eq!(timeout(&clock, SECOND, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        let clock = ManualClock::new(Timestamp(0));
        let (answer, ()) = tokio::join!(
            timeout(&clock, SECOND, std::future::pending::<()>()),
            async { clock.advance(SECOND) },
        );
        assert_eq!(answer, Err(Elapsed { span: SECOND }));
    }
}
