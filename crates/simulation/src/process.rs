//! A process that may be killed, and is started again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use seams::Seams;
use tokio::sync::oneshot;

use crate::Broken;
use crate::chance::Chance;
use crate::faults::Faults;
use crate::gate::{self, Gate};
use crate::host::Host;
use crate::services::{self, Kind, Place};

/// Calls within which a life ends, if it is to end.
const LIFE: u64 = 300;

/// The longest that a process is away, in milliseconds.
const AWAY_MS: u64 = 30_000;

/// One process, over all its lives.
#[derive(Debug)]
pub(crate) struct Process {
    name: Arc<str>,
    number: usize,
    kind: Kind,
    chance: Chance,
    deaths: u32,
    life: Life,
}

#[derive(Debug)]
enum Life {
    Lives {
        host: Host,
        // What comes when it does not start.
        refusal: oneshot::Receiver<Broken>,
    },
    Away {
        until: Duration,
    },
}

impl Process {
    /// A process that has not started. `number` tells it from all others.
    pub(crate) fn new(number: usize, name: &str, kind: Kind, seed: u64) -> Self {
        Self {
            name: name.into(),
            number,
            kind,
            chance: Chance::of(seed, name),
            deaths: 0,
            life: Life::Away {
                until: Duration::ZERO,
            },
        }
    }

    /// The event loop, while it lives.
    pub(crate) fn host(&mut self) -> Option<&mut Host> {
        match &mut self.life {
            Life::Lives { host, .. } => Some(host),
            Life::Away { .. } => None,
        }
    }

    /// When it is started; none while it lives.
    pub(crate) fn starts_at(&self) -> Option<Duration> {
        match self.life {
            Life::Lives { .. } => None,
            Life::Away { until } => Some(until),
        }
    }

    /// Starts it.
    pub(crate) fn start(
        &mut self,
        place: Place,
        gate: &Gate,
        faults: &Faults,
        now: Duration,
    ) -> Result<(), Broken> {
        let host = Host::new().map_err(Broken::start)?;
        let is_mortal = self.deaths < faults.kills && now < faults.until;
        let ear = gate.listen(gate::Life {
            host: self.number,
            name: Arc::clone(&self.name),
            rest: host.rest(),
            calls: AtomicU64::new(0),
            dies_before: is_mortal.then(|| 1 + self.chance.below(LIFE)),
        });
        gate.note(format_args!("{} starts", self.name));
        let seams = Seams::heard_by(Arc::new(ear));
        let (refuse, refusal) = oneshot::channel();
        let (kind, name) = (self.kind, Arc::clone(&self.name));
        let host = host.with_main(async move {
            match services::start(kind, &name, place, seams).await {
                // It answers for as long as it is held, and it is held by its own process.
                Ok(service) => {
                    std::future::pending::<()>().await;
                    drop(service);
                }
                Err(broken) => drop(refuse.send(broken)),
            }
        });
        self.life = Life::Lives { host, refusal };
        Ok(())
    }

    /// Why it did not start, if it did not.
    pub(crate) fn refusal(&mut self) -> Option<String> {
        match &mut self.life {
            Life::Lives { refusal, .. } => refusal.try_recv().ok().map(|broken| broken.what),
            Life::Away { .. } => None,
        }
    }

    /// Ends it at once, and says `how`; it comes back after a while.
    pub(crate) fn end(&mut self, how: &str, gate: &Gate, now: Duration) {
        let away = Duration::from_millis(self.chance.below(AWAY_MS));
        gate.note(format_args!("{} {how}", self.name));
        self.deaths += 1;
        self.life = Life::Away { until: now + away };
    }
}
