//! Where every call of every process waits until it is its turn.
//!
//! A call is let go only when every process rests, so one is under way at a time, and the seed
//! decides which. Calls that a process makes in the middle of another one, such as the statements of
//! a transaction, are not held back: nothing else could go first.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::{Clock, ManualClock};
use federation::Digest;
use seams::{Call, Listener, Passage, Seam, Waiting};
use tokio::sync::oneshot;

use crate::chance::Chance;
use crate::faults::Faults;
use crate::host::Rest;
use crate::log::{Log, digest};

/// The gate of a simulation. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    clock: Arc<ManualClock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    seed: u64,
    chance: Chance,
    faults: Faults,
    log: Log,
    waiting: Vec<Waiter>,
    // How often each call was heard, by its digest.
    heard: BTreeMap<Said, u64>,
    killed: Option<usize>,
    commits: u64,
}

/// A call that waits.
#[derive(Debug)]
struct Waiter {
    said: Said,
    not_before: Duration,
    life: Arc<Life>,
    go: oneshot::Sender<Passage>,
}

/// A call, as it is written down. Those that wait are in the order of these, whoever came first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    host: usize,
    seam: Seam,
    operation: String,
    digest: Digest,
}

/// One life of a process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) host: usize,
    pub(crate) name: Arc<str>,
    pub(crate) rest: Arc<Rest>,
    pub(crate) calls: AtomicU64,
    /// The call, from 1, that it does not live to make.
    pub(crate) dies_before: Option<u64>,
}

impl Gate {
    pub(crate) fn new(clock: Arc<ManualClock>, seed: u64, faults: Faults) -> Self {
        let state = State {
            seed,
            chance: Chance::of(seed, "gate"),
            faults,
            log: Log::default(),
            waiting: Vec::new(),
            heard: BTreeMap::new(),
            killed: None,
            commits: 0,
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Listens to a life of a process.
    pub(crate) fn listen(&self, life: Life) -> Ear {
        Ear {
            gate: self.clone(),
            life: Arc::new(life),
        }
    }

    /// Lets one call go, if there is one whose time has come.
    pub(crate) fn let_one_go(&self) -> bool {
        let now = self.clock.elapsed();
        let mut state = self.state();
        state.waiting.retain(|waiter| !waiter.go.is_closed());
        let is_ready = |place: &usize, state: &State| state.waiting[*place].not_before <= now;
        let ready: Vec<_> = (0..state.waiting.len())
            .filter(|place| is_ready(place, &state))
            .collect();
        if ready.is_empty() {
            return false;
        }
        let place = ready[state.chance.pick(ready.len())];
        let Waiter { said, life, go, .. } = state.waiting.remove(place);
        if let Some(passage) = state.pass(now, &said, &life) {
            // Whoever waited may have given up just now.
            let _gone = go.send(passage);
        }
        true
    }

    /// When the next call's time comes; none while none waits.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let state = self.state();
        state.waiting.iter().map(|waiter| waiter.not_before).min()
    }

    /// Whose end has come.
    pub(crate) fn take_killed(&self) -> Option<usize> {
        self.state().killed.take()
    }

    /// Commits of the run store so far.
    pub(crate) fn commits(&self) -> u64 {
        self.state().commits
    }

    /// Writes down what happened.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let now = self.clock.elapsed();
        self.state().log.write(now, what);
    }

    pub(crate) fn log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.state().log)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decides what becomes of a call that goes now, and writes it down; nothing, if the process
    /// does not live to make it.
    fn pass(&mut self, now: Duration, said: &Said, life: &Life) -> Option<Passage> {
        let number = 1 + life.calls.fetch_add(1, Ordering::Relaxed);
        if Some(number) == life.dies_before {
            self.write(now, said, life, format_args!("is not made"));
            self.killed = Some(life.host);
            life.rest.doom();
            return None;
        }
        let passage = self.faults.passage(now, &mut self.chance);
        self.write(now, said, life, format_args!("{passage:?}"));
        if said.seam == Seam::Store && said.operation == "commit" {
            self.commits += 1;
        }
        Some(passage)
    }

    fn write(&mut self, now: Duration, said: &Said, life: &Life, what: fmt::Arguments<'_>) {
        let Said {
            seam,
            operation,
            digest,
            ..
        } = said;
        let name = &life.name;
        self.log.write(
            now,
            format_args!("{name} {seam:?} {operation} {digest} {what}"),
        );
    }

    /// How long a call waits. It depends on the call alone, and not on which others were heard
    /// before it in the same moment.
    fn wait(&mut self, now: Duration, said: &Said) -> Duration {
        let heard = self.heard.entry(said.clone()).or_default();
        *heard += 1;
        let Said {
            host,
            operation,
            digest,
            ..
        } = said;
        let subject = format!("{host} {operation} {digest} {heard}");
        self.faults.wait(now, &mut Chance::of(self.seed, &subject))
    }
}

/// Listens to a life of a process.
#[derive(Debug)]
pub(crate) struct Ear {
    gate: Gate,
    life: Arc<Life>,
}

impl Ear {
    fn said(&self, call: &Call<'_>) -> Said {
        Said {
            host: self.life.host,
            seam: call.seam,
            operation: call.operation.to_owned(),
            digest: digest(&call.arguments),
        }
    }
}

impl Listener for Ear {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        let said = self.said(&call);
        let now = self.gate.clock.elapsed();
        let mut state = self.gate.state();
        if call.is_within {
            return match state.pass(now, &said, &self.life) {
                Some(Passage::Free) => None,
                Some(passage) => Some(Box::pin(ready(passage))),
                None => Some(Box::pin(pending())),
            };
        }
        let not_before = now + state.wait(now, &said);
        let (go, gone) = oneshot::channel();
        let waiter = Waiter {
            said,
            not_before,
            life: Arc::clone(&self.life),
            go,
        };
        let place = state
            .waiting
            .partition_point(|other| other.said <= waiter.said);
        state.waiting.insert(place, waiter);
        Some(Box::pin(async move {
            match gone.await {
                Ok(passage) => passage,
                // The process ends.
                Err(_) => pending().await,
            }
        }))
    }

    fn hear_sent(&self, call: Call<'_>) {
        let said = self.said(&call);
        let now = self.gate.clock.elapsed();
        let sent = format_args!("is sent");
        self.gate.state().write(now, &said, &self.life, sent);
    }
}
