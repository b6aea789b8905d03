//! One run, step by step.

use std::sync::Arc;
use std::time::Duration;

use federation::acceptance::Refusal;
use federation::event::Event;
use federation::round::{Effect, Phase, Plan, Round};
use federation::run::RunState;
use federation::{RunId, cohort, stop};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::{debug, info, instrument, warn};

use super::{Signal, TaskFailure};
use crate::admit::{Work, admit};
use crate::close::close_round;
use crate::collect::{self, Incoming, collect};
use crate::dispatch::dispatch;
use crate::problem::Problem;
use crate::publish::publish;
use crate::store::{RunRow, Verdict};
use crate::study::Study;

/// Waits after a stalled step, doubling from the first to the longest.
const STALL_FIRST: Duration = Duration::from_millis(50);
const STALL_LONGEST: Duration = Duration::from_secs(2);

/// Drives one run.
pub(super) struct Driver {
    study: Arc<Study>,
    run: RunId,
    inbox: mpsc::Receiver<Signal>,
    sessions: watch::Receiver<u64>,
    turns: Arc<Semaphore>,
    turn: Option<OwnedSemaphorePermit>,
    work: Option<Work>,
    // Why the round in work came to nothing, until the run has ended with it.
    abandoned: String,
    stall: Option<Stall>,
}

/// A step that cannot be taken now.
struct Stall {
    step: &'static str,
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
        Self {
            sessions: study.fleet.sessions(),
            study,
            run,
            inbox,
            turns,
            turn: None,
            work: None,
            abandoned: String::new(),
            stall: None,
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
                Err(Problem::Stalled { step, message }) => {
                    let pause = self.stalled(step, message).await;
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
                let model = publish(&study, name, &work.checkpoint, &work.dataset).await?;
                info!(
                    model = model.name,
                    version = model.version,
                    "model published"
                );
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
        study.store.open_round(self.run, &plan).await?;
        let (round, effect) = Round::open(plan);
        work.round = Some(round);
        self.apply(effect).await
    }

    async fn train(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let now = self.study.now();
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
            Effect::Abandon(why) => {
                self.abandoned = why.to_string();
                return self.abandon().await;
            }
        }
        Ok(Next::Step)
    }

    /// Ends the run with its round.
    async fn abandon(&self) -> Result<Next, Problem> {
        let round = self.work.as_ref().and_then(|work| work.round.as_ref());
        let (number, reason) = (round.map_or(0, Round::number), &self.abandoned);
        self.study
            .store
            .abandon_round(self.run, number, reason, self.study.now())
            .await?;
        let message = format!("round {number} was abandoned: {reason}");
        Err(Problem::Fatal { message })
    }

    /// Returns after a signal, when workers came or went, when `span` has passed, or, if that is
    /// waited for, when it is the run's turn.
    async fn wait(&mut self, span: Duration, for_turn: bool) {
        let clock = Arc::clone(&self.study.clock);
        let turns = Arc::clone(&self.turns);
        let signal = tokio::select! {
            signal = self.inbox.recv() => signal,
            () = clock.sleep(span) => None,
            changed = self.sessions.changed() => changed.err().and(None),
            turn = turns.acquire_owned(), if for_turn => {
                self.turn = turn.ok();
                None
            }
        };
        let mut next = signal;
        while let Some(signal) = next {
            if let Err(problem) = self.take(signal).await {
                warn!(error = %problem, "what a signal asks for was not done");
                self.wait_after(problem).await;
            }
            next = self.inbox.try_recv().ok();
        }
    }

    async fn wait_after(&mut self, problem: Problem) {
        match problem {
            Problem::Stalled { step, message } => {
                self.stalled(step, message).await;
            }
            Problem::Fatal { message } => {
                self.fail(&message).await;
            }
        }
    }

    /// Takes a signal, however long the store makes that wait: nobody sends it again.
    async fn take(&mut self, signal: Signal) -> Result<(), Problem> {
        let effect = match signal {
            Signal::Wake => None,
            Signal::Failed(failure) => loop {
                match self.take_failure(&failure).await {
                    Ok(effect) => break effect,
                    Err(problem) => self.sit_out(problem).await?,
                }
            },
            Signal::Report { incoming, verdict } => {
                let (judged, effect) = loop {
                    match self.judge(&incoming).await {
                        Ok(judged) => break judged,
                        Err(problem) => self.sit_out(problem).await?,
                    }
                };
                debug!(task = %incoming.report.task, accepted = judged.is_ok(), "update judged");
                // A worker whose session ended reports again.
                drop(verdict.send(judged));
                effect
            }
        };
        match effect {
            Some(effect) => self.apply(effect).await.map(drop),
            None => Ok(()),
        }
    }

    async fn judge(&mut self, incoming: &Incoming) -> Result<(Verdict, Option<Effect>), Problem> {
        let study = Arc::clone(&self.study);
        match &mut self.work {
            Some(work) => collect(&study, work, incoming).await,
            None => {
                let refused = collect::refuse(&study, incoming, Refusal::RunNotRunning);
                Ok((refused.await?, None))
            }
        }
    }

    async fn take_failure(&mut self, failure: &TaskFailure) -> Result<Option<Effect>, Problem> {
        let study = Arc::clone(&self.study);
        let TaskFailure {
            task,
            worker,
            message,
            retryable,
        } = failure;
        let round = self.work.as_mut().and_then(|work| work.round.as_mut());
        let Some(round) = round.filter(|round| round.number() == task.round) else {
            return Ok(None);
        };
        let mut next = round.clone();
        let effect = next.fail(task.client, task.attempt, *retryable, message);
        let again: &[_] = match &effect {
            Some(Effect::Dispatch(again)) => again,
            _ => &[],
        };
        let event = Event::TaskFailed {
            round: task.round,
            client: task.client,
            worker: worker.clone(),
            attempt: task.attempt,
            message: message.clone(),
        };
        study
            .store
            .retry(self.run, task.round, again, study.now(), &event)
            .await?;
        study.metrics.tasks_failed.inc();
        *round = next;
        Ok(effect)
    }

    /// Waits until what is stalled may be tried again.
    async fn sit_out(&mut self, problem: Problem) -> Result<(), Problem> {
        let Problem::Stalled { step, message } = problem else {
            return Err(problem);
        };
        let pause = self.stalled(step, message).await;
        self.study.clock.sleep(pause).await;
        Ok(())
    }

    /// Tells once that a step cannot be taken; says how long to wait before it is tried again.
    async fn stalled(&mut self, step: &'static str, message: String) -> Duration {
        self.study.metrics.stalls.with_label_values(&[step]).inc();
        let known = self.stall.take().filter(|stall| stall.step == step);
        let pause = known.as_ref().map_or(STALL_FIRST, |stall| stall.pause);
        if known.is_none() {
            warn!(step, message, "run stalled");
            let round = self
                .work
                .as_ref()
                .map_or(0, |work| work.checkpoint.round + 1);
            let event = Event::Stalled {
                round,
                step: step.to_owned(),
                message,
            };
            if let Err(error) = self
                .study
                .store
                .tell(self.run, self.study.now(), &event)
                .await
            {
                warn!(error = %error, "the stall could not be told");
            }
        }
        self.stall = Some(Stall {
            step,
            pause: (pause * 2).min(STALL_LONGEST),
        });
        pause
    }

    /// Ends the run as failed. Says whether that is stored.
    async fn fail(&mut self, message: &str) -> bool {
        warn!(message, "run failed");
        let now = self.study.now();
        for from in RunState::ALL.into_iter().filter(|state| !state.is_final()) {
            match self
                .study
                .store
                .move_run(self.run, from, RunState::Failed, message, now)
                .await
            {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    warn!(error = %error, "the failure could not be stored");
                    return false;
                }
            }
        }
        self.study.fleet.cancel(self.run);
        true
    }
}
