//! What leaves the process: spans and log records, in batches, by a thread of their own.
//!
//! The thread has a runtime of its own, so that records leave whatever the application's runtime
//! does, also if that has one thread and is blocked. What a collector cannot take now waits until
//! it can, as long as there is room; nobody waits for a collector but this thread.

mod destination;
mod encode;
mod ending;
mod metrics;
mod outbox;
mod reach;
mod resource;
mod sender;
mod signal;
pub mod sink;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;

use crate::config::environment::Otlp;
use crate::logs::LogRecord;
use crate::trace::SpanRecord;
use destination::Destination;
use ending::Ending;
use reach::Reach;
use sender::Sender;
use signal::{Logs, Traces};

pub use destination::InvalidDestination;
pub use metrics::ExportMetrics;
pub use outbox::Outbox;
pub use resource::Resource;

/// As tools that list threads show it.
const THREAD: &str = "telemetry-export";

/// What the thread may need beyond its deadline, to notice that it has passed.
const GRACE: Duration = Duration::from_millis(500);

thread_local! {
    static IS_EXPORT_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread that sends records. What is said on it must not become a record, or
/// each request would cause the next.
#[must_use]
pub fn is_export_thread() -> bool {
    IS_EXPORT_THREAD.get()
}

/// Why nothing can leave.
#[derive(Debug, Error)]
pub enum ExportError {
    /// There is no such place.
    #[error(transparent)]
    Destination(#[from] InvalidDestination),
    /// The system has no thread left.
    #[error("the export thread could not be started")]
    Thread(#[from] io::Error),
}

/// The thread that sends. Dropped, it ends without sending what waits; see
/// [`finish`](Exporter::finish).
#[derive(Debug)]
pub struct Exporter {
    /// Where spans wait.
    pub spans: Arc<Outbox<SpanRecord>>,
    /// Where log records wait.
    pub logs: Arc<Outbox<LogRecord>>,
    ending: watch::Sender<Option<Duration>>,
    done: mpsc::Receiver<Done>,
    thread: JoinHandle<()>,
}

/// What remained when the thread ended.
struct Done {
    lost: usize,
}

impl Exporter {
    /// Begins to send to `otlp`, whether or not somebody answers there, what `resource` does.
    ///
    /// # Errors
    ///
    /// [`ExportError`] when there can be no such place, or no thread.
    pub fn start(
        otlp: &Otlp,
        resource: Resource,
        metrics: ExportMetrics,
    ) -> Result<Self, ExportError> {
        let destination = Destination::new(otlp)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_start(|| IS_EXPORT_THREAD.set(true))
            .build()?;
        let spans = Outbox::new(otlp.queue, otlp.batch, metrics.spans_dropped.clone());
        let spans = Arc::new(spans.shown_in(metrics.queued.of("traces").clone()));
        let logs = Outbox::new(otlp.queue, otlp.batch, metrics.logs_dropped.clone());
        let logs = Arc::new(logs.shown_in(metrics.queued.of("logs").clone()));
        let (ending, asked) = watch::channel(None);
        let (tell, done) = mpsc::channel();
        let post = Post {
            spans: Arc::clone(&spans),
            logs: Arc::clone(&logs),
            delay: otlp.delay,
            destination,
            resource: resource.identified(),
            metrics,
        };
        let thread = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                let done = post.work(runtime, Ending::new(asked));
                // Whoever dropped the exporter does not want to know.
                drop(tell.send(done));
            })?;
        Ok(Self {
            spans,
            logs,
            ending,
            done,
            thread,
        })
    }

    /// Sends what waits, for as long as `patience`, and ends the thread. What comes later is
    /// dropped and counted, as is what could not be sent; says whether nothing was left.
    ///
    /// Blocks, so asynchronous code calls it by `spawn_blocking`.
    #[must_use]
    pub fn finish(self, patience: Duration) -> bool {
        self.ending.send_replace(Some(patience));
        match self.done.recv_timeout(patience.saturating_add(GRACE)) {
            Ok(done) => self.thread.join().is_ok() && done.lost == 0,
            // It hangs or has panicked; nobody waits for it.
            Err(_) => false,
        }
    }
}

/// What the thread works with.
struct Post {
    spans: Arc<Outbox<SpanRecord>>,
    logs: Arc<Outbox<LogRecord>>,
    delay: Duration,
    destination: Destination,
    resource: Resource,
    metrics: ExportMetrics,
}

impl Post {
    fn work(self, runtime: Runtime, ending: Ending) -> Done {
        IS_EXPORT_THREAD.set(true);
        runtime.block_on(self.send_until(ending));
        // Names are looked up on threads that nobody can interrupt.
        runtime.shutdown_background();
        Done {
            lost: self.spans.close() + self.logs.close(),
        }
    }

    async fn send_until(&self, ending: Ending) {
        let reach = Rc::new(Reach::of(&self.destination));
        let traces = self.sender::<Traces>(&self.spans, &reach);
        let logs = self.sender::<Logs>(&self.logs, &reach);
        let senders = async {
            tokio::join!(traces.run(ending.clone()), logs.run(ending.clone()));
        };
        tokio::select! {
            biased;
            () = senders => {}
            () = ending.clone().over() => {}
        }
    }

    fn sender<'a, S: signal::Signal>(
        &'a self,
        outbox: &'a Outbox<S::Record>,
        reach: &Rc<Reach>,
    ) -> Sender<'a, S> {
        Sender::new(outbox, self, Rc::clone(reach))
    }
}

#[cfg(test)]
mod tests;
