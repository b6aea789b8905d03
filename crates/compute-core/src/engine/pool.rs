//! Threads that wait for short pieces of work.
//!
//! A phase of a step lasts tens to hundreds of microseconds, less than it takes to start a
//! thread. Workers therefore live as long as the pool; between phases they spin briefly, then
//! sleep. Which thread takes which task is left to chance: results must not depend on it.
#![expect(
    unsafe_code,
    reason = "threads that outlive a call can only borrow its work if the call waits for them"
)]

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::kernels::Kernels;

/// Looks at a flag before a thread goes to sleep: about 20 µs, longer than what the calling thread
/// does alone between two phases, and far shorter than what a sleeping core could do for others.
const SPINS: u32 = 1_000;

/// The calling thread and its workers.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// What to do now, with which kernels, and whom to wake when it is done.
    job: Mutex<Job>,
    /// Counts jobs; a worker that sees a new number takes part in a new job.
    generation: AtomicUsize,
    /// Workers that have not finished the job.
    running: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
}

/// Stands in the job's place between two jobs, so that no reference outlives its work.
const REST: fn() = || ();

#[derive(Clone)]
struct Job {
    work: &'static (dyn Fn() + Sync),
    caller: Thread,
    kernels: Kernels,
}

impl Pool {
    /// A pool of `threads` threads, the caller's among them.
    ///
    /// Threads the system refuses to start are done without: results do not depend on them.
    pub(super) fn new(threads: NonZeroUsize) -> Self {
        let shared = Arc::new(Shared {
            job: Mutex::new(Job {
                work: &REST,
                caller: thread::current(),
                kernels: Kernels::native(),
            }),
            generation: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads.get())
            .map_while(|_| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name("engine".to_owned())
                    .spawn(move || shared.serve())
                    .ok()
            })
            .collect();
        Self { shared, workers }
    }

    /// Runs `act` once for each of `tasks`, on whichever thread is free, and waits for all.
    pub(super) fn each<T: Send>(
        &mut self,
        tasks: impl Iterator<Item = T> + Send,
        act: impl Fn(T) + Sync,
    ) {
        if self.workers.is_empty() {
            return tasks.for_each(act);
        }
        let tasks = Mutex::new(tasks);
        self.run(&|| {
            while let Some(task) = next(&tasks) {
                act(task);
            }
        });
    }

    /// Like [`Self::each`], with one of `benches` for each thread; threads without one only wait.
    pub(super) fn each_at<T: Send, B: Send>(
        &mut self,
        benches: &mut [B],
        tasks: impl Iterator<Item = T> + Send,
        act: impl Fn(&mut B, T) + Sync,
    ) {
        let (benches, tasks) = (Mutex::new(benches.iter_mut()), Mutex::new(tasks));
        self.run(&|| {
            let Some(bench) = next(&benches) else {
                return;
            };
            while let Some(task) = next(&tasks) {
                act(bench, task);
            }
        });
    }

    /// How many threads it has, the caller's among them.
    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `work` on every thread of the pool at once and returns when all have finished.
    fn run(&mut self, work: &(dyn Fn() + Sync)) {
        // SAFETY: only the lifetime changes. Workers use the reference between the new generation
        // and the end of their count in `running`; `Finish` waits for that count to reach zero
        // before this call returns or unwinds, so `work` outlives every use.
        let work =
            unsafe { std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) };
        let job = Job {
            work,
            caller: thread::current(),
            kernels: Kernels::current(),
        };
        *self.shared.job() = job;
        self.shared.panicked.store(false, Ordering::Relaxed);
        self.shared
            .running
            .store(self.workers.len(), Ordering::Relaxed);
        self.shared.generation.fetch_add(1, Ordering::Release);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        let finish = Finish(&self.shared);
        work();
        drop(finish);
        assert!(
            !self.shared.panicked.load(Ordering::Relaxed),
            "a worker of the engine panicked"
        );
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker cannot panic: it catches what its work throws.
            drop(worker.join());
        }
    }
}

/// Waits for the workers when it goes, also when the caller's own share of the work panics.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        wait_until(|| self.0.running.load(Ordering::Acquire) == 0);
        self.0.job().work = &REST;
    }
}

impl Shared {
    /// The life of a worker.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            wait_until(|| {
                self.generation.load(Ordering::Acquire) != seen || self.stop.load(Ordering::Acquire)
            });
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            seen += 1;
            let Job {
                work,
                caller,
                kernels,
            } = self.job().clone();
            if catch_unwind(AssertUnwindSafe(|| kernels.run(work))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.running.fetch_sub(1, Ordering::Release);
            caller.unpark();
        }
    }

    fn job(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next<T>(tasks: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// Spins briefly for `ready`, then sleeps until unparked, as often as needed.
fn wait_until(ready: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if ready() {
            return;
        }
        std::hint::spin_loop();
    }
    while !ready() {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).unwrap())
    }

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in 1..=4 {
            let mut pool = pool(threads);
            let mut counts = vec![0; 100];
            for _ in 0..200 {
                pool.each(counts.iter_mut(), |count| *count += 1);
            }
            assert_eq!(counts, vec![200; 100]);
        }
    }

    #[test]
    fn a_task_has_a_bench_to_itself() {
        for (threads, places) in [(1, 1), (3, 3), (3, 2)] {
            let mut benches = vec![0; places];
            pool(threads).each_at(&mut benches, 0..100, |bench, _| *bench += 1);
            assert_eq!(benches.iter().sum::<i32>(), 100);
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_survives() {
        let mut pool = pool(2);
        let thrown = catch_unwind(AssertUnwindSafe(|| {
            pool.each(0..2, |_| panic!("thrown on purpose"));
        }));
        assert!(thrown.is_err());
        let ran = AtomicUsize::new(0);
        pool.each(0..8, |_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 8);
    }
}
