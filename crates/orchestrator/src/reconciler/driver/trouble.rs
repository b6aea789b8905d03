//! What a driver does when a step cannot be taken: say so once, wait, or give up.

use std::sync::Arc;
use std::time::Duration;

use federation::Timestamp;
use federation::event::Event;
use federation::run::RunState;
use tracing::warn;

use super::{Driver, Stall};
use crate::problem::{STALL_FIRST, STALL_LONGEST};
use crate::reconciler::{count_end, failed};

impl Driver {
    /// Tells once that a step cannot be taken; says how long to wait before it is tried again.
    pub(super) async fn stalled(&mut self, waiting_for: &'static str, message: String) -> Duration {
        self.study.metrics.runs.stalls.of(waiting_for).inc();
        let known = self
            .stall
            .take()
            .filter(|stall| stall.waiting_for == waiting_for);
        let pause = known.as_ref().map_or(STALL_FIRST, |stall| stall.pause);
        let tries = known.as_ref().map_or(0, |stall| stall.tries);
        if known.is_none() {
            warn!(run = %self.run, waiting_for, message, "run stalled");
            let round = self
                .work
                .as_ref()
                .map_or(0, |work| work.checkpoint.round + 1);
            let event = Event::Stalled {
                round,
                waiting_for: waiting_for.to_owned(),
                message,
            };
            if let Err(error) = self
                .study
                .store
                .tell(self.run, self.study.now(), &event)
                .await
            {
                warn!(run = %self.run, error = %error, "the stall could not be told");
            }
        }
        self.stall = Some(Stall {
            waiting_for,
            pause: (pause * 2).min(STALL_LONGEST),
            tries: tries.saturating_add(1),
        });
        pause
    }

    /// Ends the run as failed. Says whether that is stored.
    pub(super) async fn fail(&mut self, message: &str) -> bool {
        warn!(run = %self.run, message, "run failed");
        self.changes();
        let study = Arc::clone(&self.study);
        if let Some(work) = &mut self.work {
            // The run keeps the model that stands; why that could not be written matters less.
            drop(work.written(&study).await);
        }
        let now = self.study.now();
        match failed(&self.study, self.run, message, now).await {
            Ok((state, _)) => self.ended(state, Some(now)),
            Err(error) => {
                warn!(run = %self.run, error = %error, "the failure could not be stored");
                return false;
            }
        }
        true
    }

    /// The run is over: nobody works for it any more, and it is counted, once.
    pub(super) fn ended(&mut self, state: RunState, at: Option<Timestamp>) {
        self.study.fleet.cancel(self.run);
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        if let Some(work) = self.work.take() {
            if work.round.is_some() {
                work.span.set("outcome", state.as_str());
            }
            self.study.metrics.parked.park(work.shown, self.study.now());
        }
        count_end(&self.study, state, self.submitted_at, at);
    }
}
