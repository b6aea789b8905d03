//! What a driver does when a step cannot be taken: say so once, wait, or give up.

use std::time::Duration;

use federation::event::Event;
use tracing::warn;

use super::{Driver, STALL_FIRST, STALL_LONGEST, Stall};

impl Driver {
    /// Tells once that a step cannot be taken; says how long to wait before it is tried again.
    pub(super) async fn stalled(&mut self, waiting_for: &'static str, message: String) -> Duration {
        self.study
            .metrics
            .stalls
            .with_label_values(&[waiting_for])
            .inc();
        let known = self
            .stall
            .take()
            .filter(|stall| stall.waiting_for == waiting_for);
        let pause = known.as_ref().map_or(STALL_FIRST, |stall| stall.pause);
        if known.is_none() {
            warn!(waiting_for, message, "run stalled");
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
                warn!(error = %error, "the stall could not be told");
            }
        }
        self.stall = Some(Stall {
            waiting_for,
            pause: (pause * 2).min(STALL_LONGEST),
        });
        pause
    }

    /// Ends the run as failed. Says whether that is stored.
    pub(super) async fn fail(&mut self, message: &str) -> bool {
        warn!(message, "run failed");
        let now = self.study.now();
        if let Err(error) = self.study.store.fail_run(self.run, message, now).await {
            warn!(error = %error, "the failure could not be stored");
            return false;
        }
        self.study.fleet.cancel(self.run);
        true
    }
}
