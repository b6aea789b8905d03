//! What a driver hears, and how it waits for it.

use std::sync::Arc;
use std::time::Duration;

use federation::acceptance::Refusal;
use federation::event::Event;
use federation::round::Effect;
use telemetry::trace::Traced;
use tracing::{debug, warn};

use super::Driver;
use crate::collect::{self, Incoming, Judged, collect};
use crate::problem::Problem;
use crate::reconciler::{NotKept, Reported, Signal, TaskFailure};

impl Driver {
    /// Returns after a signal, when workers came or went, when `span` has passed, or, if that is
    /// waited for, when it is the run's turn.
    pub(super) async fn wait(&mut self, span: Duration, for_turn: bool) {
        let clock = Arc::clone(&self.study.clock);
        let turns = Arc::clone(&self.turns);
        let ended = self.end_of_writing();
        let ended = async {
            match ended {
                Some(ended) => ended.cancelled().await,
                None => std::future::pending().await,
            }
        };
        self.idle = false;
        let signal = tokio::select! {
            biased;
            signal = self.inbox.recv() => signal,
            turn = turns.acquire_owned(), if for_turn => {
                self.turn = turn.ok();
                None
            }
            () = self.sessions.rung() => None,
            () = ended => None,
            () = clock.sleep(span) => {
                self.idle = true;
                self.row = None;
                None
            }
        };
        let Some(first) = signal else { return };
        let mut signals = vec![first];
        while let Ok(signal) = self.inbox.try_recv() {
            signals.push(signal);
        }
        self.hear_all(signals).await;
    }

    /// Takes signals in their order; reports that come one after the other together.
    async fn hear_all(&mut self, signals: Vec<Signal>) {
        let mut reports = Vec::new();
        for signal in signals {
            match signal {
                Signal::Report(report) => reports.push(report),
                signal => {
                    self.hear_reports(std::mem::take(&mut reports)).await;
                    let place = signal.place().or_else(|| self.aside());
                    self.hear(signal).in_scope(place).await;
                }
            }
        }
        self.hear_reports(reports).await;
    }

    async fn hear_reports(&mut self, reports: Vec<Reported>) {
        let Some(first) = reports.first() else { return };
        let place = first.place.clone().or_else(|| self.aside());
        if let Err(problem) = self.take_reports(reports).in_scope(place).await {
            self.excuse(problem).await;
        }
    }

    async fn hear(&mut self, signal: Signal) {
        if let Err(problem) = self.take(signal).await {
            self.excuse(problem).await;
        }
    }

    async fn excuse(&mut self, problem: Problem) {
        warn!(run = %self.run, error = %problem, "what a signal asks for was not done");
        self.wait_after(problem).await;
    }

    async fn wait_after(&mut self, problem: Problem) {
        match problem {
            Problem::Stalled {
                waiting_for,
                message,
            } => {
                self.stalled(waiting_for, message).await;
            }
            Problem::Fatal { message } => {
                self.fail(&message).await;
            }
        }
    }

    /// Takes a signal, however long the store makes that wait: nobody sends it again.
    async fn take(&mut self, signal: Signal) -> Result<(), Problem> {
        match signal {
            Signal::Wake => {
                self.row = None;
                Ok(())
            }
            Signal::Failed { failure, kept, .. } => match self.keep_failure(failure).await {
                Ok(effect) => {
                    // A worker whose session ended reports again.
                    drop(kept.send(Ok(())));
                    self.apply_any(effect).await
                }
                Err(problem) => {
                    drop(kept.send(Err(NotKept::because(&problem))));
                    Err(problem)
                }
            },
            Signal::Report(report) => self.take_reports(vec![report]).await,
        }
    }

    async fn take_reports(&mut self, reports: Vec<Reported>) -> Result<(), Problem> {
        let incoming: Vec<_> = reports.iter().map(|report| &*report.incoming).collect();
        let judged = match self.judge_up_to_date(&incoming).await {
            Ok(judged) => judged,
            Err(problem) => {
                for report in reports {
                    let unkept = NotKept::because(&problem);
                    // A worker whose session ended reports again.
                    drop(report.verdict.send(Err(unkept)));
                }
                return Err(problem);
            }
        };
        let mut effects = Vec::with_capacity(judged.len());
        for (report, (judged, effect)) in reports.into_iter().zip(judged) {
            let Reported {
                incoming, verdict, ..
            } = report;
            debug!(
                run = %self.run,
                round = incoming.report.task.round,
                participant_id = %incoming.report.task.client,
                worker = %incoming.worker,
                loss = incoming.report.mean_loss,
                accepted = judged.verdict.is_ok(),
                "update judged"
            );
            drop(verdict.send(Ok(judged)));
            effects.push(effect);
        }
        for effect in effects {
            self.apply_any(effect).await?;
        }
        Ok(())
    }

    async fn apply_any(&mut self, effect: Option<Effect>) -> Result<(), Problem> {
        match effect {
            Some(effect) => self.apply(effect).await.map(drop),
            None => Ok(()),
        }
    }

    async fn judge_up_to_date(
        &mut self,
        reports: &[&Incoming],
    ) -> Result<Vec<(Judged, Option<Effect>)>, Problem> {
        self.catch_up().await?;
        self.judge(reports).await
    }

    /// Brings the work to what the store knows, if it is behind.
    pub(super) async fn catch_up(&mut self) -> Result<(), Problem> {
        let study = Arc::clone(&self.study);
        let effect = match &mut self.work {
            Some(work) => collect::catch_up(&study, work).await?,
            None => None,
        };
        self.apply_any(effect).await
    }

    async fn judge(
        &mut self,
        reports: &[&Incoming],
    ) -> Result<Vec<(Judged, Option<Effect>)>, Problem> {
        let study = Arc::clone(&self.study);
        if let Some(work) = &mut self.work {
            return collect(&study, work, reports).await;
        }
        let mut judged = Vec::with_capacity(reports.len());
        for incoming in reports {
            let refused = collect::refuse(&study, incoming, Refusal::RunNotRunning).await?;
            judged.push((refused, None));
        }
        Ok(judged)
    }

    async fn keep_failure(&mut self, failure: TaskFailure) -> Result<Option<Effect>, Problem> {
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
        let effect = next.fail(task.client, task.attempt, retryable, &message);
        let again: &[_] = match &effect {
            Some(Effect::Dispatch(again)) => again,
            _ => &[],
        };
        let event = Event::TaskFailed {
            round: task.round,
            client: task.client,
            worker,
            attempt: task.attempt,
            message,
        };
        study
            .store
            .retry(self.run, task.round, again, study.now(), &event)
            .await?;
        study.metrics.rounds.tasks_failed.inc();
        *round = next;
        Ok(effect)
    }
}
