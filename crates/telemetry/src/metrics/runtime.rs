//! How the runtime keeps up with its tasks.
//!
//! Tokio tells the length of the queue to its threads for blocking work only when it is built with
//! `--cfg tokio_unstable`, and so that number is not here. What waits for those threads shows in
//! the calls that wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::Counter;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::process::{raise, set};
use super::{Error, Gauge, IntGauge, Registry};

/// Between two looks at the clock. Ten a second find a standstill of half a second for certain, and
/// cost an idle runtime less than a thousandth of a processor.
const PERIOD: Duration = Duration::from_millis(100);

/// The worst lag is told for one to two windows. A scrape every 15 s, as in our Prometheus, misses
/// none, and those of several readers do not take it from each other.
const WINDOW: Duration = Duration::from_secs(15);

crate::metrics! {
    /// What a runtime does.
    pub struct Runtime {
        /// Threads that run tasks.
        pub workers: IntGauge = "tokio_workers";
        /// Tasks that were spawned and have not ended.
        pub alive_tasks: IntGauge = "tokio_alive_tasks", rows: "S3-36";
        /// Tasks that wait for any worker, after they were spawned or woken from outside of the
        /// runtime.
        pub global_queue: IntGauge = "tokio_global_queue_depth", rows: "S3-37";
        /// Time that workers spent running tasks, all together, in seconds.
        pub busy: Counter = "tokio_workers_busy_seconds_total";
        /// Longest delay of a timer in the last 15 to 30 seconds, in seconds; what stands still
        /// now counts too.
        pub lag: Gauge = "tokio_eventloop_lag_seconds", rows: "S3-38 S3-53";
    }
}

/// Shows `runtime` in `registry`. The future that comes back looks at the clock, without end: it
/// must be spawned on `runtime`, and dropped when that is no longer of interest.
///
/// # Errors
///
/// [`Error`] when a name is taken.
pub fn watch(
    registry: &Registry,
    runtime: &Handle,
) -> Result<impl Future<Output = ()> + Send + use<>, Error> {
    let lag = Arc::new(Mutex::new(Lag::default()));
    let probe = probe(Arc::clone(&lag));
    let tokio = runtime.metrics();
    // One scrape at a time: two that counted the same second would both add it.
    let shown = Mutex::new(Runtime::register(registry)?);
    registry.on_scrape(move || {
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        set(&shown.workers, tokio.num_workers());
        set(&shown.alive_tasks, tokio.num_alive_tasks());
        set(&shown.global_queue, tokio.global_queue_depth());
        let workers = 0..tokio.num_workers();
        let busy: Duration = workers
            .map(|worker| tokio.worker_total_busy_duration(worker))
            .sum();
        raise(&shown.busy, busy.as_secs_f64());
        let worst = held(&lag).worst(Instant::now());
        shown.lag.set(worst.as_secs_f64());
    });
    Ok(probe)
}

/// Sleeps, and sees by how much it overslept.
async fn probe(lag: Arc<Mutex<Lag>>) {
    loop {
        let due = Instant::now() + PERIOD;
        held(&lag).due = Some(due);
        sleep_until(due).await;
        held(&lag).woke(Instant::now());
    }
}

fn held(lag: &Mutex<Lag>) -> MutexGuard<'_, Lag> {
    lag.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The delays of a timer.
#[derive(Debug, Default)]
struct Lag {
    /// When it should go off next.
    due: Option<Instant>,
    /// The window that is open: when it began, and its longest delay.
    open: Option<(Instant, Duration)>,
    /// The longest delay of the window before.
    before: Duration,
}

impl Lag {
    fn woke(&mut self, now: Instant) {
        let delay = self.delay(now);
        self.open = match self.open {
            Some((began, worst)) if now - began < WINDOW => Some((began, worst.max(delay))),
            full => {
                self.before = full.map_or(Duration::ZERO, |(_, worst)| worst);
                Some((now, delay))
            }
        };
    }

    fn worst(&self, now: Instant) -> Duration {
        let open = self.open.map_or(Duration::ZERO, |(_, worst)| worst);
        self.delay(now).max(open).max(self.before)
    }

    fn delay(&self, now: Instant) -> Duration {
        self.due
            .map_or(Duration::ZERO, |due| now.saturating_duration_since(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition::text;

    fn number(registry: &Registry, name: &str) -> f64 {
        let text = text(&registry.snapshot()).unwrap();
        let number = text.lines().find_map(|line| {
            let (series, number) = line.split_once(' ')?;
            (series == name).then(|| number.parse().unwrap())
        });
        number.unwrap_or_else(|| panic!("{name} is not in {text}"))
    }

    const MILLI: Duration = Duration::from_millis(1);

    /// Delays of timers, each at so many seconds from the beginning and so many milliseconds long.
    fn delayed(start: Instant, delays: &[(u64, u32)]) -> Lag {
        let mut lag = Lag::default();
        for (second, delay) in delays {
            let due = start + Duration::from_secs(*second);
            lag.due = Some(due);
            lag.woke(due + *delay * MILLI);
            lag.due = None;
        }
        lag
    }

    #[test]
    fn a_standstill_shows_until_two_windows_have_passed() {
        let start = Instant::now();
        let worst = |delays: &[(u64, u32)]| delayed(start, delays).worst(start);
        let shown = [(0, 2), (3, 800), (9, 5)];
        assert_eq!(worst(&shown), 800 * MILLI);
        assert_eq!(worst(&[&shown[..], &[(16, 3)]].concat()), 800 * MILLI);
        let passed = [&shown[..], &[(16, 3), (32, 4)]].concat();
        assert_eq!(worst(&passed), 4 * MILLI);
    }

    #[test]
    fn a_standstill_shows_while_it_lasts() {
        let start = Instant::now();
        let mut lag = delayed(start, &[(0, 2)]);
        lag.due = Some(start);
        assert_eq!(lag.worst(start + 700 * MILLI), 700 * MILLI);
    }

    #[tokio::test]
    async fn the_probe_sees_a_thread_that_does_something_else() {
        let registry = Registry::new("kitchen").unwrap();
        let mut probe = Box::pin(watch(&registry, &Handle::current()).unwrap());
        assert!(futures::poll!(&mut probe).is_pending());
        // Not a wait for something: it is what the probe is there to see.
        std::thread::sleep(3 * PERIOD);
        let awake = tokio::time::timeout(PERIOD, &mut probe);
        assert!(awake.await.is_err(), "the probe has an end");
        let lag = number(&registry, "tokio_eventloop_lag_seconds");
        assert!((0.2..20.0).contains(&lag), "{lag}");
    }

    #[tokio::test]
    async fn a_runtime_shows_its_tasks() {
        let registry = Registry::new("kitchen").unwrap();
        drop(watch(&registry, &Handle::current()).unwrap());
        let before = number(&registry, "tokio_alive_tasks");
        let task = tokio::spawn(std::future::pending::<()>());
        assert!((number(&registry, "tokio_alive_tasks") - before - 1.0).abs() < f64::EPSILON);
        // Spawned from inside, and not run yet: that is no matter of the queue for those outside.
        assert!(number(&registry, "tokio_global_queue_depth") < f64::EPSILON);
        assert!((number(&registry, "tokio_workers") - 1.0).abs() < f64::EPSILON);
        task.abort();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_time_of_busy_workers_is_counted() {
        let registry = Registry::new("kitchen").unwrap();
        drop(watch(&registry, &Handle::current()).unwrap());
        assert!((number(&registry, "tokio_workers") - 2.0).abs() < f64::EPSILON);
        let name = "tokio_workers_busy_seconds_total";
        let before = number(&registry, name);
        let busy = async {
            while number(&registry, name) <= before {
                tokio::spawn(async {}).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), busy)
            .await
            .unwrap();
    }
}
