//! A simulation from its beginning to its end.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use client::{Address, Client, ClientError, JobSpec, v1};
use clock::{Clock, ManualClock, Timestamp};
use proto::transport::Pipe;
use seams::Seams;
use task_queue::{MemoryQueue, TaskQueue};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::chance::Chance;
use crate::faults::Faults;
use crate::faulty_queue::{FaultyQueue, QueueFaults};
use crate::gate::{Gate, Life};
use crate::host::Host;
use crate::invariants::Invariants;
use crate::process::Process;
use crate::services::{IDLE_TIMEOUT, Kind, Place};
use crate::user::{self, Seen};
use crate::{Broken, Ground};

/// When a simulation begins, as its clocks show it: a moment in 2023.
const BEGINNING: Timestamp = Timestamp(1_700_000_000_000);

/// By when all jobs must have ended, after the faults have.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The jobs, each submitted at the beginning.
    pub jobs: Vec<JobSpec>,
    /// How many workers.
    pub workers: usize,
    /// How many tasks each takes at once.
    pub slots: NonZeroU32,
    /// The faults of a queue of its own, which outlives the orchestrator; none for the
    /// orchestrator's, which does not.
    pub queue: Option<QueueFaults>,
    /// After how many commits of the run store the invariants are looked at.
    pub look_every: u64,
    /// What goes wrong.
    pub faults: Faults,
}

/// How a simulation ended.
#[derive(Debug)]
pub struct Ending {
    /// Everything that happened.
    pub log: String,
    /// Calls and what else was written down.
    pub lines: usize,
    /// How long it took on its own clock.
    pub lasted: Duration,
    /// The run of each job.
    pub runs: Vec<v1::Run>,
    /// The digest of each run's last model, where it has one.
    pub models: Vec<Option<String>>,
}

struct World {
    clock: Arc<ManualClock>,
    gate: Gate,
    faults: Faults,
    order: Chance,
    place: Place,
    processes: Vec<Process>,
    // One for each job.
    users: Vec<Host>,
    invariants: Invariants,
    looked_at: u64,
    look_every: u64,
    _data: TempDir,
}

/// Simulates `scenario` on a copy of `ground`, as `seed` has it.
///
/// # Errors
///
/// [`Broken`], with the end of what happened before.
pub fn simulate(ground: &Ground, scenario: &Scenario, seed: u64) -> Result<Ending, Broken> {
    let mut world = World::new(ground, scenario, seed)?;
    let seen = Seen::default();
    let mut ends = world.submit(scenario, &seen)?;
    let ended = world.run_until(scenario, &mut ends);
    let ended = ended.and_then(|runs| world.end(runs, &seen));
    ended.map_err(|broken| world.explain(seed, &broken))
}

fn queue(clock: &Arc<ManualClock>, faults: QueueFaults, seed: u64) -> Arc<dyn TaskQueue> {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let queue = Arc::new(MemoryQueue::new(Arc::clone(&clock)));
    Arc::new(FaultyQueue::new(queue, clock, faults, seed))
}

type End = oneshot::Receiver<Result<v1::Run, ClientError>>;

impl World {
    fn new(ground: &Ground, scenario: &Scenario, seed: u64) -> Result<Self, Broken> {
        let data = ground.copy().map_err(Broken::start)?;
        let clock = Arc::new(ManualClock::new(BEGINNING));
        let place = Place {
            data_dir: data.path().to_owned(),
            clock: Arc::clone(&clock),
            compute: Pipe::default(),
            orchestrator: Pipe::default(),
            queue: scenario.queue.map(|faults| queue(&clock, faults, seed)),
        };
        let mut processes = vec![
            Process::new(0, "orchestrator", Kind::Orchestrator, seed),
            Process::new(1, "compute-core", Kind::ComputeCore, seed),
        ];
        for worker in 1..=scenario.workers {
            let name = format!("worker-{worker}");
            let kind = Kind::Worker(scenario.slots);
            processes.push(Process::new(processes.len(), &name, kind, seed));
        }
        Ok(Self {
            gate: Gate::new(Arc::clone(&clock), seed, scenario.faults),
            clock,
            faults: scenario.faults,
            order: Chance::of(seed, "order"),
            invariants: Invariants::new(data.path()).map_err(Broken::start)?,
            place,
            processes,
            users: Vec::new(),
            looked_at: 0,
            look_every: scenario.look_every,
            _data: data,
        })
    }

    /// Has every job submitted and watched; each end comes when its run has.
    fn submit(&mut self, scenario: &Scenario, seen: &Seen) -> Result<Vec<End>, Broken> {
        let mut ends = Vec::new();
        for (number, job) in scenario.jobs.iter().enumerate() {
            let user = Host::new().map_err(Broken::start)?;
            let ear = self.gate.listen(Life {
                host: self.processes.len() + number,
                name: format!("user-{number}").into(),
                rest: user.rest(),
                calls: AtomicU64::new(0),
                dies_before: None,
            });
            let (end, ended) = oneshot::channel();
            let address = Address::Pipe(self.place.orchestrator.clone());
            let (clock, job, seen) = (Arc::clone(&self.clock), job.clone(), seen.clone());
            user.spawn(async move {
                let client = Client::connect_within(&address, IDLE_TIMEOUT)
                    .with_clock(Arc::<ManualClock>::clone(&clock))
                    .through(Seams::heard_by(Arc::new(ear)));
                let key = format!("job-{number}");
                let run = user::follow(client, clock, key, job, seen).await;
                drop(end.send(run));
            });
            self.users.push(user);
            ends.push(ended);
        }
        Ok(ends)
    }

    /// Lets things happen until every job has ended.
    fn run_until(&mut self, scenario: &Scenario, ends: &mut [End]) -> Result<Vec<v1::Run>, Broken> {
        let mut runs = BTreeMap::new();
        let latest = self.faults.until + PATIENCE;
        loop {
            self.start_due()?;
            self.settle()?;
            for (number, end) in ends.iter_mut().enumerate() {
                if let Ok(ended) = end.try_recv() {
                    runs.insert(number, ended.map_err(Broken::because)?);
                }
            }
            if runs.len() == scenario.jobs.len() {
                return Ok(runs.into_values().collect());
            }
            if !self.gate.let_one_go() && !self.pass_time() {
                return Err(Broken::because("nobody has anything to do or to wait for"));
            }
            self.bury();
            if self.clock.elapsed() > latest {
                return Err(Broken::because("a job has not ended"));
            }
        }
    }

    /// Runs whoever was woken, one after the other in an order of chance, until all of them rest.
    fn settle(&mut self) -> Result<(), Broken> {
        let order = self.order.shuffled(self.processes.len() + self.users.len());
        let next = |world: &mut Self| {
            let woken = order.iter().copied();
            let mut woken =
                woken.filter(|&place| world.host(place).is_some_and(|host| host.is_woken()));
            woken.next()
        };
        while let Some(woken) = next(self) {
            if let Some(host) = self.host(woken) {
                host.run();
            }
            self.bury();
            for process in &mut self.processes {
                if let Some(error) = process.refusal() {
                    process.end(&error, &self.gate, self.clock.elapsed());
                }
            }
        }
        let commits = self.gate.commits();
        if commits >= self.looked_at + self.look_every {
            self.looked_at = commits;
            self.invariants.look()?;
        }
        Ok(())
    }

    /// Ends the process whose end has come.
    fn bury(&mut self) {
        if let Some(killed) = self.gate.take_killed() {
            self.processes[killed].end("is killed", &self.gate, self.clock.elapsed());
        }
    }

    /// The event loop at `place`; the users' come last.
    fn host(&mut self, place: usize) -> Option<&mut Host> {
        let processes = self.processes.len();
        match self.processes.get_mut(place) {
            Some(process) => process.host(),
            None => self.users.get_mut(place - processes),
        }
    }

    fn start_due(&mut self) -> Result<(), Broken> {
        let now = self.clock.elapsed();
        for process in &mut self.processes {
            if process.starts_at().is_some_and(|at| at <= now) {
                process.start(self.place.clone(), &self.gate, &self.faults, now)?;
            }
        }
        Ok(())
    }

    /// Moves the clock to the next moment that anything waits for; says whether there is one.
    fn pass_time(&self) -> bool {
        let now = self.clock.elapsed();
        let starts = self.processes.iter().filter_map(Process::starts_at);
        let due = [self.clock.next_due(), self.gate.next_due()];
        let next = starts.chain(due.into_iter().flatten()).min();
        let Some(next) = next else { return false };
        self.clock.advance(next.saturating_sub(now));
        true
    }

    fn end(&mut self, runs: Vec<v1::Run>, seen: &Seen) -> Result<Ending, Broken> {
        self.invariants.look()?;
        let models = self.invariants.end(&runs, &seen.events())?;
        Ok(Ending {
            log: self.gate.log(|log| log.text().to_owned()),
            lines: self.gate.log(crate::log::Log::lines),
            lasted: self.clock.elapsed(),
            runs,
            models,
        })
    }

    /// What a person needs to find out why.
    fn explain(&self, seed: u64, broken: &Broken) -> Broken {
        let file = std::env::temp_dir().join(format!("pangea-simulation-{seed}.log"));
        let log = self.gate.log(|log| log.text().to_owned());
        let kept = match std::fs::write(&file, log) {
            Ok(()) => file.display().to_string(),
            Err(error) => format!("nowhere: {error}"),
        };
        let faults = self.faults;
        Broken::because(format_args!(
            "{broken} (seed {seed}, {faults:?}; what happened before is in {kept})"
        ))
    }
}
