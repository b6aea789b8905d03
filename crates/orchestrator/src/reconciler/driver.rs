//! One run, step by step.

mod rounds;
mod signals;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use federation::round::{Phase, Round};
use federation::run::RunState;
use federation::{RunId, Timestamp};
use seams::bell::Hearer;
use telemetry::trace::{Scope, Span, Traced};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::info;

use super::Signal;
use crate::admit::{Work, admit};
use crate::close::close_round;
use crate::dispatch::dispatch;
use crate::problem::{Problem, STALL_LONGEST};
use crate::store::RunRow;
use crate::study::Study;
use crate::trace::{RunTrace, attempt};

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
        if self.work.as_ref().is_some_and(Work::has_written) {
            self.write_all().await?;
            return Ok(Next::Step);
        }
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
        let (wanted, why) = study.fleet.readiness(work.spec.kernel_class);
        if row.state != wanted {
            if let Some(round) = &mut work.round {
                round.postpone(study.steady().after(work.spec.cohort.deadline));
            }
            return self.move_to(row, wanted, &why).await;
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
}
