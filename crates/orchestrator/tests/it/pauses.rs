//! A run that nobody works on costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clock::{Clock, SystemClock, Timestamp};
use federation::run::{Command, RunState};

use crate::worker::Worker;
use crate::world::{Rules, World, job};

/// Counts how often somebody lies down.
#[derive(Debug, Default)]
struct CountingClock {
    inner: SystemClock,
    sleeps: AtomicUsize,
}

#[async_trait]
impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn elapsed(&self) -> Duration {
        self.inner.elapsed()
    }

    async fn sleep(&self, span: Duration) {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        self.inner.sleep(span).await;
    }
}

#[tokio::test]
async fn a_paused_run_rests_and_goes_on_when_it_is_resumed() {
    let clock = Arc::new(CountingClock::default());
    let world = World::new(Rules {
        clock: Arc::<CountingClock>::clone(&clock),
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = world.submit(job(1, 1)).await;
    let leased = worker.lease().await;
    world.command(run, Command::Pause).await;
    let before = clock.sleeps.load(Ordering::Relaxed);
    // Time enough for a driver that does not rest to lie down and get up many times.
    for _look in 0..200 {
        assert_eq!(world.row(run).await.state, RunState::Paused);
    }
    let sleeps = clock.sleeps.load(Ordering::Relaxed) - before;
    assert!(sleeps <= 3, "it got up {sleeps} times");

    let done = worker.train(&leased).await;
    assert!(
        worker.report(done).await.accepted,
        "what was begun is taken"
    );
    world.command(run, Command::Resume).await;
    world.until_state(run, RunState::Completed).await;
}
