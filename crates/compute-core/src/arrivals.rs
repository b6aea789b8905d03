//! Bodies on their way in: of several callers that bring the same one, only the first is listened to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::{Clock, timeout};
use federation::Digest;
use tokio::sync::OwnedMutexGuard;

/// Bytes a second below which a caller is not waited for by others who bring the same.
const BYTES_PER_SECOND: f64 = 250e6;

/// How long anybody is waited for at least.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long anybody is waited for at most by who only asks, and hears nothing meanwhile.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

type Turns = HashMap<Digest, OnItsWay>;

/// A body that somebody brings.
#[derive(Debug, Clone, Default)]
struct OnItsWay {
    lock: Arc<tokio::sync::Mutex<()>>,
    len: u64,
}

/// Who brings what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Turns>>);

/// The turn of a caller to bring a body, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    arrivals: Arrivals,
    digest: Digest,
    /// None for one who no longer waits for another.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Arrivals {
    /// Waits while somebody else brings this body of `len` bytes, for no longer than that takes on a
    /// fast line: whoever is behind a slow one keeps nobody waiting. It may be there after that.
    pub(crate) async fn turn(&self, clock: &dyn Clock, digest: Digest, len: u64) -> Turn {
        let lock = {
            let mut turns = self.turns();
            let coming = turns.entry(digest).or_default();
            coming.len = len;
            Arc::clone(&coming.lock)
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "it is a time to the microsecond"
        )]
        let patience = PATIENCE.as_secs_f64() + len as f64 / BYTES_PER_SECOND;
        let patience = Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX);
        let mut turn = Turn {
            arrivals: self.clone(),
            digest,
            guard: None,
        };
        turn.guard = timeout(clock, patience, lock.lock_owned()).await.ok();
        turn
    }

    /// Waits likewise while somebody brings any of these bodies, but not so long that who asks would
    /// think that nobody answers.
    pub(crate) async fn settled(&self, clock: &dyn Clock, digests: &[Digest]) {
        let settled = async {
            for digest in digests {
                let coming = self.turns().get(digest).map(|coming| coming.len);
                if let Some(len) = coming {
                    drop(self.turn(clock, *digest, len).await);
                }
            }
        };
        let _in_time = timeout(clock, ANSWERED_WITHIN, settled).await;
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut turns = self.arrivals.turns();
        let is_last = |coming: &OnItsWay| Arc::strong_count(&coming.lock) == 1;
        if turns.get(&self.digest).is_some_and(is_last) {
            turns.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;

    use super::*;

    #[tokio::test]
    async fn one_waits_for_another_and_not_for_ever() {
        let (arrivals, clock) = (Arrivals::default(), SystemClock::default());
        let digest = Digest::of(b"pangea");
        let first = arrivals.turn(&clock, digest, 6).await;
        assert!(first.guard.is_some());
        let late = arrivals.turn(&clock, digest, 6).await;
        assert!(late.guard.is_none(), "it brings it itself");
        let other = arrivals.turn(&clock, Digest::of(b"other"), 6).await;
        assert!(other.guard.is_some());
        let (second, ()) = tokio::join!(arrivals.turn(&clock, digest, 6), async { drop(first) });
        assert!(second.guard.is_some());
        drop((late, other, second));
        assert!(arrivals.turns().is_empty());
    }

    #[tokio::test]
    async fn who_asks_for_a_body_that_somebody_brings_is_answered_when_it_is_there() {
        let (arrivals, clock) = (Arrivals::default(), SystemClock::default());
        let digest = Digest::of(b"pangea");
        arrivals.settled(&clock, &[digest]).await;
        let digests = [digest];
        // So large that it is waited for until it is there.
        let bringing = arrivals.turn(&clock, digest, 1 << 40).await;
        let mut asking = Box::pin(arrivals.settled(&clock, &digests));
        assert!(futures::poll!(&mut asking).is_pending());
        drop(bringing);
        asking.await;
        assert!(arrivals.turns().is_empty());
    }
}
