//! One run, step by step.

mod signals;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use federation::round::{Effect, Phase, Plan, Round};
use federation::run::RunState;
use federation::{RunId, Timestamp, cohort, stop};
use seams::bell::Hearer;
use telemetry::trace::{Scope, Span, Traced};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Signal;
use crate::admit::{Work, admit};
use crate::close::close_round;
use crate::dispatch::dispatch;
use crate::problem::Problem;
use crate::publish::publish;
use crate::store::RunRow;
use crate::study::Study;
use crate::trace::{RunTrace, attempt};

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
    // As it was last read. Who changes it otherwise wakes the driver, which reads it again.
    row: Option<RunRow>,
    // Whether a step changed it.
    has_changed: bool,
    stall: Option<Stall>,
    // Kept over waits, so that a worker who comes between a step and a wait is noticed.
    sessions: Hearer,
    // Whether the last wait ended because nothing happened.
    idle: bool,
    // Known once the run's row was read.
    trace: Option<RunTrace>,
    submitted_at: Option<Timestamp>,
    // The last round whose training was counted; one can close more than once.
    trained: u32,
    has_ended: bool,
}

/// A step that cannot be taken now.
struct Stall {
    waiting_for: &'static str,
    pause: Duration,
    tries: u32,
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
            row: None,
            has_changed: false,
            stall: None,
            sessions,
            idle: false,
            trace: None,
            submitted_at: None,
            trained: 0,
            has_ended: false,
        }
    }

    pub(super) async fn drive(mut self) {
        loop {
            let place = self.aside();
            let (next, pause) = self.go_on().in_scope(place).await;
            match next {
                Next::Step => {}
                Next::Wait => self.wait(pause, false).await,
                Next::WaitForTurn => self.wait(pause, true).await,
                Next::Ended => return,
            }
        }
    }

    /// Takes a step; says what follows, and how long to wait for it.
    async fn go_on(&mut self) -> (Next, Duration) {
        let usual = self.study.interval;
        match self.step().await {
            Ok(next) => {
                self.stall = None;
                (next, usual)
            }
            Err(problem) => {
                self.row = None;
                self.give_in(problem).await
            }
        }
    }

    async fn give_in(&mut self, problem: Problem) -> (Next, Duration) {
        match problem {
            Problem::Stalled {
                waiting_for,
                message,
            } => (Next::Wait, self.stalled(waiting_for, message).await),
            Problem::Fatal { message } => {
                if self.fail(&message).await {
                    (Next::Ended, Duration::ZERO)
                } else {
                    (Next::Wait, STALL_LONGEST)
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Next, Problem> {
        let row = match self.row.take() {
            Some(row) => row,
            None => match self.study.store.run(self.run).await? {
                Some(row) => row,
                None => return Ok(Next::Ended),
            },
        };
        self.submitted_at = Some(row.created_at);
        if self.trace.is_none() {
            self.trace = Some(RunTrace::of(&self.study.telemetry, &row));
            // The first step that does something is taken in it.
            return Ok(Next::Step);
        }
        match row.state {
            state if state.is_final() => {
                self.ended(state, row.finished_at);
                Ok(Next::Ended)
            }
            _ if self
                .failed_writing()
                .is_some_and(|failed| failed.is_cancelled()) =>
            {
                self.write_all().await?;
                Ok(Next::Step)
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
            _ => {
                self.has_changed = false;
                let next = self.work_on(&row).await?;
                if !self.has_changed {
                    self.row = Some(row);
                }
                Ok(next)
            }
        }
    }

    /// The run's row is about to change.
    pub(super) fn changes(&mut self) {
        self.row = None;
        self.has_changed = true;
    }

    /// Where steps are taken that leave nothing behind.
    fn aside(&self) -> Option<Scope> {
        self.trace.as_ref().map(RunTrace::aside)
    }

    /// Whether this try of a step is kept in the trace. One that stalls is tried for as long as it
    /// takes; of its tries the first ones, and then ever fewer, are kept.
    fn is_kept(&self) -> bool {
        self.stall
            .as_ref()
            .is_none_or(|stall| stall.tries.is_power_of_two())
    }

    /// A step that is kept and not part of a round.
    fn begin(&self, name: &'static str) -> Span {
        match &self.trace {
            Some(trace) if self.is_kept() => trace.step(name),
            _ => Span::none(),
        }
    }

    fn take_turn(&mut self) -> bool {
        self.turn = Arc::clone(&self.turns).try_acquire_owned().ok();
        self.turn.is_some()
    }

    async fn move_to(&mut self, row: &RunRow, to: RunState, reason: &str) -> Result<Next, Problem> {
        self.changes();
        // A command that came in between wins; the next step sees its state.
        let moved = self
            .study
            .store
            .move_run(self.run, row.state, to, reason, self.study.now());
        if moved.await? {
            info!(run = %self.run, state = %to, reason, "run moved");
        }
        Ok(Next::Step)
    }

    async fn work_on(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        if self.work.is_none() {
            let admitting = Box::pin(admit(&study, row));
            let mut work = attempt(&self.begin("admit"), admitting).await?;
            if let (Some(round), Some(trace)) = (&work.round, &mut self.trace) {
                work.span = trace.round(round.number(), round.cohort().len());
                work.span.set("resumed", true);
            }
            self.work = Some(work);
        }
        self.catch_up().await?;
        let is_kept = self.is_kept();
        let Some(work) = &mut self.work else {
            return Ok(Next::Step);
        };
        self.sessions.catch_up();
        let wanted = if study.fleet.is_empty() {
            (RunState::WaitingForWorkers, "no worker is connected")
        } else {
            (RunState::Running, "workers are connected")
        };
        if row.state != wanted.0 {
            if let Some(round) = &mut work.round {
                round.postpone(study.steady().after(work.spec.cohort.deadline));
            }
            return self.move_to(row, wanted.0, wanted.1).await;
        }
        let place = work.span.scope();
        dispatch(&study, work, is_kept)
            .in_scope(place.clone())
            .await?;
        match work.round.as_ref().map(Round::phase) {
            None => self.open_or_finish(row).await,
            Some(Phase::Training) => self.train(row).await,
            Some(Phase::Abandoned) => self.abandon().await,
            Some(_) => {
                let place = place.filter(|_| is_kept);
                let closed = Box::pin(close_round(&study, work)).in_scope(place).await;
                self.give_up_lost();
                closed.map(|()| Next::Step)
            }
        }
    }

    async fn open_or_finish(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let Some(work) = &self.work else {
            return Ok(Next::Step);
        };
        let committed = work.checkpoint.round;
        let stopped = stop::decide(&work.spec.stop, &work.history).map(|why| why.to_string());
        let done = (committed >= work.spec.rounds.get()).then(|| "all rounds are done".to_owned());
        if let Some(reason) = stopped.or(done) {
            if !self.write_all().await? {
                return Ok(Next::Step);
            }
            self.changes();
            let Some(work) = &self.work else {
                return Ok(Next::Step);
            };
            return match &work.spec.publish_as {
                Some(name) => self.publish(work, name, &reason).await,
                None => self.move_to(row, RunState::Completed, &reason).await,
            };
        }
        self.open().await
    }

    /// Waits for the checkpoint that is being written; says whether all rounds are committed.
    async fn write_all(&mut self) -> Result<bool, Problem> {
        let Some(work) = &mut self.work else {
            return Ok(false);
        };
        let written = work.written().await;
        self.give_up_lost();
        written
    }

    /// Is cancelled when the checkpoint that is being written will not be.
    fn failed_writing(&self) -> Option<CancellationToken> {
        let writing = self.work.as_ref()?.writing.as_ref()?;
        Some(writing.failed().clone())
    }

    /// Lets go of what is known of a run whose checkpoint could not be written. It is admitted
    /// again, which finds what was.
    fn give_up_lost(&mut self) {
        if self.work.take_if(|work| work.is_lost).is_some() {
            self.changes();
        }
    }

    async fn publish(&self, work: &Work, name: &str, reason: &str) -> Result<Next, Problem> {
        let (checkpoint, dataset) = (&work.checkpoint, &work.dataset);
        let span = self.begin("publish");
        let publishing = publish(&self.study, name, checkpoint, dataset, reason);
        if let Some(model) = attempt(&span, publishing).await? {
            let version = model.version;
            if span.is_kept() {
                span.set("model", model.name.clone());
                span.set("version", version);
            }
            info!(
                run = %self.run,
                model = model.name,
                version,
                "run completed, model published"
            );
        }
        Ok(Next::Step)
    }

    async fn open(&mut self) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        let (Some(work), Some(trace)) = (&mut self.work, &mut self.trace) else {
            return Ok(Next::Step);
        };
        let committed = work.checkpoint.round;
        let spec = &work.spec;
        let number = committed + 1;
        let cohort = cohort::sample(
            spec.seed,
            number,
            spec.partition.clients.get(),
            &spec.cohort,
        );
        let plan = Plan {
            number,
            quorum: spec.cohort.quorum_of(cohort.len()),
            cohort,
            base: work.checkpoint.model.parameters.digest,
            update_bytes: work.checkpoint.model.parameters.len,
            opened_at: study.now(),
            deadline: study.steady().after(spec.cohort.deadline),
        };
        if !study.store.open_round(self.run, &plan).await? {
            return Ok(Next::Step);
        }
        work.span = trace.round(number, plan.cohort.len());
        work.shown.round(number);
        let (round, effect) = Round::open(plan);
        work.round = Some(round);
        self.apply(effect).await
    }

    async fn train(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        let now = study.steady();
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
            round.postpone(study.steady().after(work.spec.cohort.deadline));
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
                self.count_training();
                self.study
                    .store
                    .move_round(self.run, number, Phase::Aggregating)
                    .await?;
            }
            Effect::Abandon => return self.abandon().await,
        }
        Ok(Next::Step)
    }

    /// Counts how long the round that closes was open, when it closes for the first time.
    fn count_training(&mut self) {
        let round = self.work.as_ref().and_then(|work| work.round.as_ref());
        if let Some(round) = round.filter(|round| round.number() > self.trained) {
            self.trained = round.number();
            let open = self.study.now().since(round.plan().opened_at);
            let metrics = &self.study.metrics.rounds;
            metrics.seconds.of("training").observe_duration(open);
        }
    }

    async fn abandon(&mut self) -> Result<Next, Problem> {
        // The run keeps the model that stands.
        if !self.write_all().await? {
            return Ok(Next::Step);
        }
        let round = self.work.as_ref().and_then(|work| work.round.as_ref());
        let Some((round, why)) = round.and_then(|round| Some((round, round.abandoned()?))) else {
            return Ok(Next::Step);
        };
        let (number, reason) = (round.number(), why.to_string());
        if let Some(work) = &self.work {
            work.span.fail(&reason);
        }
        self.changes();
        self.study
            .store
            .abandon_round(self.run, number, &reason, self.study.now())
            .await?;
        // Its run has failed with it.
        Ok(Next::Step)
    }
}
