//! One run, step by step.

mod signals;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use federation::round::{Effect, Phase, Plan, Round};
use federation::run::RunState;
use federation::{RunId, cohort, stop};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::{info, instrument};

use super::Signal;
use crate::admit::{Work, admit};
use crate::close::close_round;
use crate::dispatch::dispatch;
use crate::problem::Problem;
use crate::publish::publish;
use crate::store::RunRow;
use crate::study::Study;

/// Waits after a stalled step, doubling from the first to the longest.
const STALL_FIRST: Duration = Duration::from_millis(50);
const STALL_LONGEST: Duration = Duration::from_secs(2);

/// Drives one run.
pub(super) struct Driver {
    study: Arc<Study>,
    run: RunId,
    inbox: mpsc::Receiver<Signal>,
    turns: Arc<Semaphore>,
    turn: Option<OwnedSemaphorePermit>,
    work: Option<Work>,
    stall: Option<Stall>,
    // Kept over waits, so that a worker who comes between a step and a wait is noticed.
    sessions: watch::Receiver<u64>,
    // Whether the last wait ended because nothing happened.
    idle: bool,
}

/// A step that cannot be taken now.
struct Stall {
    waiting_for: &'static str,
    pause: Duration,
}

/// What follows a step.
enum Next {
    /// Another step can be taken.
    Step,
    /// Something must happen first.
    Wait,
    /// Another run must end first.
    WaitForTurn,
    /// Nothing will happen any more.
    Ended,
}

impl Driver {
    pub(super) fn new(
        study: Arc<Study>,
        run: RunId,
        inbox: mpsc::Receiver<Signal>,
        turns: Arc<Semaphore>,
    ) -> Self {
        let sessions = study.fleet.sessions();
        Self {
            study,
            run,
            inbox,
            turns,
            turn: None,
            work: None,
            stall: None,
            sessions,
            idle: false,
        }
    }

    #[instrument(name = "run", skip_all, fields(run = %self.run))]
    pub(super) async fn drive(mut self) {
        loop {
            match self.step().await {
                Ok(Next::Step) => self.stall = None,
                Ok(wait @ (Next::Wait | Next::WaitForTurn)) => {
                    self.stall = None;
                    let for_turn = matches!(wait, Next::WaitForTurn);
                    self.wait(self.study.interval, for_turn).await;
                }
                Ok(Next::Ended) => return,
                Err(Problem::Stalled {
                    waiting_for,
                    message,
                }) => {
                    let pause = self.stalled(waiting_for, message).await;
                    self.wait(pause, false).await;
                }
                Err(Problem::Fatal { message }) => {
                    if self.fail(&message).await {
                        return;
                    }
                    self.wait(STALL_LONGEST, false).await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Next, Problem> {
        let Some(row) = self.study.store.run(self.run).await? else {
            return Ok(Next::Ended);
        };
        match row.state {
            state if state.is_final() => {
                self.study.fleet.cancel(self.run);
                Ok(Next::Ended)
            }
            RunState::Paused => {
                self.turn = None;
                Ok(Next::Wait)
            }
            _ if self.turn.is_none() && !self.take_turn() => Ok(Next::WaitForTurn),
            RunState::Pending => {
                self.move_to(&row, RunState::Admitted, "its turn has come")
                    .await
            }
            _ => self.work_on(&row).await,
        }
    }

    fn take_turn(&mut self) -> bool {
        self.turn = Arc::clone(&self.turns).try_acquire_owned().ok();
        self.turn.is_some()
    }

    async fn move_to(&self, row: &RunRow, to: RunState, reason: &str) -> Result<Next, Problem> {
        // A command that came in between wins; the next step sees its state.
        let moved = self
            .study
            .store
            .move_run(self.run, row.state, to, reason, self.study.now());
        if moved.await? {
            info!(state = %to, reason, "run moved");
        }
        Ok(Next::Step)
    }

    async fn work_on(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        if self.work.is_none() {
            self.work = Some(admit(&study, row).await?);
        }
        let Some(work) = &mut self.work else {
            return Ok(Next::Step);
        };
        // Marked before looking, so that a session which begins in between ends the next wait.
        self.sessions.mark_unchanged();
        let wanted = if study.fleet.is_empty() {
            (RunState::WaitingForWorkers, "no worker is connected")
        } else {
            (RunState::Running, "workers are connected")
        };
        if row.state != wanted.0 {
            if let Some(round) = &mut work.round {
                round.postpone(study.now().after(work.spec.cohort.deadline));
            }
            return self.move_to(row, wanted.0, wanted.1).await;
        }
        dispatch(&study, work).await?;
        match work.round.as_ref().map(Round::phase) {
            None => self.open_or_finish(row).await,
            Some(Phase::Training) => self.train(row).await,
            Some(Phase::Abandoned) => self.abandon().await,
            Some(_) => {
                close_round(&study, work).await?;
                Ok(Next::Step)
            }
        }
    }

    async fn open_or_finish(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        let Some(work) = &mut self.work else {
            return Ok(Next::Step);
        };
        let committed = work.checkpoint.round;
        let stopped = stop::decide(&work.spec.stop, &work.history).map(|why| why.to_string());
        let done = (committed >= work.spec.rounds.get()).then(|| "all rounds are done".to_owned());
        if let Some(reason) = stopped.or(done) {
            if let Some(name) = &work.spec.publish_as {
                let (checkpoint, dataset) = (&work.checkpoint, &work.dataset);
                let published = publish(&study, name, checkpoint, dataset, &reason).await?;
                if let Some(model) = published {
                    let version = model.version;
                    info!(
                        model = model.name,
                        version, "run completed, model published"
                    );
                }
                return Ok(Next::Step);
            }
            return self.move_to(row, RunState::Completed, &reason).await;
        }
        let spec = &work.spec;
        let number = committed + 1;
        let cohort = cohort::sample(
            spec.seed,
            number,
            spec.partition.clients.get(),
            &spec.cohort,
        );
        let now = study.now();
        let plan = Plan {
            number,
            quorum: spec.cohort.quorum_of(cohort.len()),
            cohort,
            base: work.checkpoint.model.parameters.digest,
            update_bytes: work.checkpoint.model.parameters.len,
            opened_at: now,
            deadline: now.after(spec.cohort.deadline),
        };
        if !study.store.open_round(self.run, &plan).await? {
            return Ok(Next::Step);
        }
        let (round, effect) = Round::open(plan);
        work.round = Some(round);
        self.apply(effect).await
    }

    async fn train(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        let now = study.now();
        let Some(work) = &mut self.work else {
            return Ok(Next::Step);
        };
        let Some(round) = &mut work.round else {
            return Ok(Next::Step);
        };
        // A deadline is for workers that are slow, not for those that are not there.
        if row.state != RunState::Running {
            return Ok(Next::Wait);
        }
        // Nor is it for a fleet that has nothing to train with.
        if self.idle
            && let Err(error) = study.engine.describe().await
        {
            round.postpone(study.now().after(work.spec.cohort.deadline));
            return Err(error.into());
        }
        match round.tick(now) {
            Some(effect) => self.apply(effect).await,
            None => Ok(Next::Wait),
        }
    }

    async fn apply(&mut self, effect: Effect) -> Result<Next, Problem> {
        let Some(work) = &mut self.work else {
            return Ok(Next::Step);
        };
        let number = work.round.as_ref().map_or(0, Round::number);
        match effect {
            Effect::Dispatch(tasks) => work.to_dispatch.extend(tasks),
            Effect::Aggregate => {
                self.study
                    .store
                    .move_round(self.run, number, Phase::Aggregating)
                    .await?;
            }
            Effect::Abandon => return self.abandon().await,
        }
        Ok(Next::Step)
    }

    async fn abandon(&self) -> Result<Next, Problem> {
        let round = self.work.as_ref().and_then(|work| work.round.as_ref());
        let Some((round, why)) = round.and_then(|round| Some((round, round.abandoned()?))) else {
            return Ok(Next::Step);
        };
        let (number, reason) = (round.number(), why.to_string());
        self.study
            .store
            .abandon_round(self.run, number, &reason, self.study.now())
            .await?;
        let message = format!("round {number} was abandoned: {reason}");
        Err(Problem::Fatal { message })
    }
}
