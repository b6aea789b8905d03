//! A process of the simulation: one event loop, driven by hand until nothing is left to do in it.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;
use seams::away::Counter;
use tokio::runtime::{Builder, Runtime};

/// A process that lives. Dropping it is `kill -9`: nothing in it runs any more.
pub(crate) struct Host {
    // None only while it is dropped.
    runtime: Option<Runtime>,
    rest: Arc<Rest>,
    // None once it is done. What it holds, the process holds.
    main: Option<LocalBoxFuture<'static, ()>>,
    main_waker: Arc<MainWaker>,
}

/// Whether the event loop has nothing left to do.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    has_come: AtomicBool,
    waker: Mutex<Option<Waker>>,
    away: Counter,
    // One call of it will never return, so what is away may never come back.
    is_doomed: AtomicBool,
}

impl Rest {
    /// One of its calls never returns: it is waited for no longer.
    pub(crate) fn doom(&self) {
        self.is_doomed.store(true, Ordering::Relaxed);
    }

    /// The event loop is about to wait: for other processes, the clock, or for what it sent away,
    /// which is then waited for indeed.
    fn about_to_wait(&self) {
        if self.away.is_waited_for() && !self.is_doomed.load(Ordering::Relaxed) {
            return;
        }
        self.has_come.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Has whoever runs the event loop look whether it rests.
    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = waker.as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// Notices that the process's main task has something to do.
#[derive(Debug)]
struct MainWaker {
    is_woken: AtomicBool,
    rest: Arc<Rest>,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.rest.wake();
    }
}

impl Host {
    pub(crate) fn new() -> std::io::Result<Self> {
        let rest = Arc::new(Rest::default());
        let resting = Arc::clone(&rest);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || resting.about_to_wait())
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            main: None,
            main_waker: Arc::new(MainWaker {
                is_woken: AtomicBool::new(false),
                rest: Arc::clone(&rest),
            }),
            rest,
        })
    }

    /// For those who must know whether it rests.
    pub(crate) fn rest(&self) -> Arc<Rest> {
        Arc::clone(&self.rest)
    }

    /// What the process is for, begun when it first runs.
    pub(crate) fn with_main(mut self, main: impl Future<Output = ()> + 'static) -> Self {
        self.main = Some(Box::pin(main));
        self.main_waker.is_woken.store(true, Ordering::Relaxed);
        self
    }

    /// Has `work` done in it, as far as it gets whenever the host runs.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime().spawn(work));
    }

    /// Whether it was woken, and so has something to do.
    pub(crate) fn is_woken(&self) -> bool {
        let main = self.main_waker.is_woken.load(Ordering::Relaxed);
        main || self.runtime().metrics().global_queue_depth() > 0
    }

    /// Runs it until it waits for others or for the clock.
    pub(crate) fn run(&mut self) {
        let Self {
            runtime,
            rest,
            main,
            main_waker,
        } = self;
        let runtime = runtime.as_ref().expect("it is there until it is dropped");
        rest.has_come.store(false, Ordering::Relaxed);
        // What comes to rest may be woken in the moment of it, so it must rest twice.
        let mut rested = false;
        let running = poll_fn(|cx| {
            rest.waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(cx.waker().clone());
            if main_waker.is_woken.swap(false, Ordering::Relaxed) {
                rest.has_come.store(false, Ordering::Relaxed);
                rested = false;
                let waker = Waker::from(Arc::clone(main_waker));
                main.take_if(|main| {
                    main.as_mut()
                        .poll(&mut Context::from_waker(&waker))
                        .is_ready()
                });
                return Poll::Pending;
            }
            if rest.has_come.swap(false, Ordering::Relaxed) && std::mem::replace(&mut rested, true)
            {
                return Poll::Ready(());
            }
            Poll::Pending
        });
        rest.away.during(|| runtime.block_on(running));
    }

    fn runtime(&self) -> &Runtime {
        self.runtime
            .as_ref()
            .expect("it is there until it is dropped")
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let main = self.main.take();
            self.rest.away.during(|| {
                let _inside = runtime.enter();
                drop(main);
            });
            // The event loop holds what it calls before it waits, and that would hold the event loop.
            let _waker = self
                .rest
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            // What is on another thread ends by itself; nobody hears of it.
            self.rest.away.during(|| runtime.shutdown_background());
        }
    }
}
