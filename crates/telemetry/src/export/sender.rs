//! Sends one kind of records, batch after batch, until they have arrived.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::Post;
use super::ending::Ending;
use super::outbox::Outbox;
use super::reach::{Reach, Way};
use super::signal::{Partial, Signal};
use crate::metrics::Histogram;

/// The first pause after a failure. Each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: a collector that is back is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Collectors take 4 MiB in one message unless told otherwise; what is estimated may be off.
const REQUEST_BYTES_MAX: usize = 3 << 20;

/// The sender of one kind of records.
pub(super) struct Sender<'a, S: Signal> {
    outbox: &'a Outbox<S::Record>,
    post: &'a Post,
    channel: Channel,
    reach: Rc<Reach>,
    way: Way,
    failures: IntCounter,
    duration: Histogram,
    exported: IntCounter,
}

/// What became of a batch.
enum Fate {
    /// It arrived, or never will.
    Settled,
    /// It waits in the outbox again.
    Waits,
}

/// A batch on its way. Unless it is settled, it goes back to its outbox.
struct Batch<'a, R> {
    records: Vec<R>,
    outbox: &'a Outbox<R>,
}

impl<'a, S: Signal> Sender<'a, S> {
    pub(super) fn new(outbox: &'a Outbox<S::Record>, post: &'a Post, reach: Rc<Reach>) -> Self {
        Self {
            outbox,
            post,
            channel: post.destination.connect(),
            reach,
            way: Way::default(),
            failures: post.metrics.failures.of(S::NAME).clone(),
            duration: post.metrics.duration.of(S::NAME).clone(),
            exported: post.metrics.exported.of(S::NAME).clone(),
        }
    }

    /// Sends whenever a batch is complete or has waited long enough. At the end sends everything,
    /// however long that takes: whoever asked for the end stops waiting when it is too long.
    pub(super) async fn run(mut self, mut ending: Ending) {
        loop {
            let ends = ending.has_come();
            let least = if ends {
                1
            } else {
                tokio::select! {
                    () = self.outbox.full_batch() => self.outbox.batch(),
                    () = sleep(self.post.delay) => 1,
                    () = ending.come() => 1,
                }
            };
            self.send_waiting(least, &mut ending).await;
            if ends {
                return;
            }
        }
    }

    /// Sends batches until fewer than `least` records wait.
    async fn send_waiting(&mut self, least: usize, ending: &mut Ending) {
        let mut pause = PAUSE_MIN;
        while self.outbox.len() >= least {
            match self.send_batch().await {
                Fate::Settled => pause = PAUSE_MIN,
                Fate::Waits if ending.has_come() => sleep(PAUSE_MIN).await,
                Fate::Waits => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = ending.come() => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn send_batch(&mut self) -> Fate {
        let Some(batch) = self.next_batch() else {
            return Fate::Settled;
        };
        let message = S::encode(&batch.records, &self.post.resource);
        let request = self.post.destination.request(message);
        let limit = self.post.destination.timeout;
        let timer = self.duration.start();
        let answer = timeout(limit, S::export(self.channel.clone(), request)).await;
        timer.stop();
        let answer = answer.unwrap_or_else(|_| {
            // Whatever is at the other end of this connection may have gone without a word.
            self.channel = self.post.destination.connect();
            Err(Status::deadline_exceeded(format!("no answer in {limit:?}")))
        });
        match answer {
            Ok(partial) => {
                self.arrived(batch, &partial);
                Fate::Settled
            }
            Err(status) => self.failed(batch, &status),
        }
    }

    /// As much as one request can carry. A record that none can carry is dropped.
    fn next_batch(&self) -> Option<Batch<'a, S::Record>> {
        let mut records = self.outbox.take_batch();
        let mut bytes = 0;
        let fitting = records.iter().take_while(|record| {
            bytes += S::bytes(record);
            bytes <= REQUEST_BYTES_MAX
        });
        let fitting = fitting.count();
        let rest = records.split_off(fitting.max(1).min(records.len()));
        self.outbox.put_back(rest);
        if fitting == 0 {
            self.outbox.lose(records.len());
            return None;
        }
        Some(Batch {
            records,
            outbox: self.outbox,
        })
    }

    fn arrived(&mut self, batch: Batch<'_, S::Record>, partial: &Partial) {
        let len = batch.settle();
        let rejected = partial.rejected.min(len);
        self.exported.inc_by((len - rejected) as u64);
        self.outbox.lose(rejected);
        self.reach.get_through(&mut self.way);
        if rejected == 0 {
            self.reach.accept(&mut self.way, S::NAME);
        } else {
            self.reach.refuse(&mut self.way, S::NAME, &partial.reason);
        }
    }

    fn failed(&mut self, batch: Batch<'_, S::Record>, status: &Status) -> Fate {
        self.failures.inc();
        if may_pass(status) {
            self.reach.hold_up(&mut self.way, &told(status));
            drop(batch);
            return Fate::Waits;
        }
        self.outbox.lose(batch.settle());
        self.reach.get_through(&mut self.way);
        self.reach.refuse(&mut self.way, S::NAME, &told(status));
        Fate::Settled
    }
}

impl<R> Batch<'_, R> {
    /// Says how many records it had.
    fn settle(mut self) -> usize {
        std::mem::take(&mut self.records).len()
    }
}

impl<R> Drop for Batch<'_, R> {
    fn drop(&mut self) {
        self.outbox.put_back(std::mem::take(&mut self.records));
    }
}

/// Whether the same request may succeed later. A status with a source was made on this side, by a
/// connection that failed.
fn may_pass(status: &Status) -> bool {
    let transient = matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Aborted
    );
    transient || status.source().is_some()
}

/// With the cause at the bottom, which is what helps.
fn told(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    let message = status.message();
    match cause.map(ToString::to_string) {
        Some(cause) if !message.contains(&cause) => format!("{message}: {cause}"),
        _ if message.is_empty() => status.code().description().to_owned(),
        _ => message.to_owned(),
    }
}
