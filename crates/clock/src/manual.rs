//! A clock that moves when it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{Clock, Timestamp};

/// A clock for tests and simulations: it stands still until [`advance`](ManualClock::advance).
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    state: Mutex<State>,
    fell_asleep: Notify,
}

/// When a sleeper is due, and its number, which keeps sleepers of one moment in order.
type Due = (Duration, u64);

#[derive(Debug, Default)]
struct State {
    elapsed: Duration,
    sleeps: u64,
    sleepers: BTreeMap<Due, Arc<Notify>>,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            state: Mutex::default(),
            fell_asleep: Notify::new(),
        }
    }

    /// Moves the clock and wakes who is due by then, the earliest first.
    pub fn advance(&self, span: Duration) {
        let mut state = self.state();
        let now = state.elapsed.saturating_add(span);
        state.elapsed = now;
        while let Some(sleeper) = state.sleepers.first_entry()
            && sleeper.key().0 <= now
        {
            sleeper.remove().notify_one();
        }
    }

    /// When the next sleeper is due, on [`elapsed`](Clock::elapsed)'s scale; none while nobody sleeps.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let state = self.state();
        state.sleepers.keys().next().map(|&(due, _)| due)
    }

    /// Returns once at least `count` sleepers wait for the clock to move.
    ///
    /// What a test awaits before [`advance`](Self::advance), where the sleepers are other tasks.
    pub async fn until_asleep(&self, count: usize) {
        loop {
            let fell_asleep = self.fell_asleep.notified();
            if self.state().sleepers.len() >= count {
                return;
            }
            fell_asleep.await;
        }
    }

    fn fall_asleep(&self, span: Duration) -> Sleeper<'_> {
        let mut state = self.state();
        let due = (state.elapsed.saturating_add(span), state.sleeps);
        let woken = Arc::new(Notify::new());
        state.sleeps += 1;
        state.sleepers.insert(due, Arc::clone(&woken));
        self.fell_asleep.notify_waiters();
        Sleeper {
            clock: self,
            due,
            woken,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start.after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.state().elapsed
    }

    async fn sleep(&self, span: Duration) {
        if !span.is_zero() {
            let sleeper = self.fall_asleep(span);
            sleeper.woken.notified().await;
        }
    }
}

/// A sleep under way; dropping it forgets the sleeper.
struct Sleeper<'a> {
    clock: &'a ManualClock,
    due: Due,
    woken: Arc<Notify>,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.clock.state().sleepers.remove(&self.due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp(1_000)))
    }

    #[tokio::test]
    async fn sleepers_wake_in_the_order_they_are_due() {
        let clock = clock();
        let (woken, mut order) = tokio::sync::mpsc::unbounded_channel();
        for seconds in [3, 1, 2, 1] {
            let (clock, woken) = (Arc::clone(&clock), woken.clone());
            tokio::spawn(async move {
                clock.sleep(SECOND * seconds).await;
                woken.send(seconds).unwrap();
            });
        }
        clock.until_asleep(4).await;
        clock.advance(SECOND * 3);
        drop(woken);
        let mut seen = Vec::new();
        while let Some(seconds) = order.recv().await {
            seen.push(seconds);
        }
        assert_eq!(seen, [1, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_sleeper_waits_for_the_whole_span() {
        let clock = clock();
        let sleep = clock.sleep(SECOND);
        tokio::pin!(sleep);
        for _half in 0..2 {
            tokio::select! {
                biased;
                () = &mut sleep => panic!("woke at {}", clock.now()),
                () = std::future::ready(()) => clock.advance(SECOND / 2),
            }
        }
        sleep.await;
        assert_eq!(clock.now(), Timestamp(2_000));
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_forgotten() {
        let clock = clock();
        tokio::select! {
            biased;
            () = clock.sleep(SECOND) => panic!("nobody moved the clock"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(clock.state().sleepers.len(), 0);
    }
}
