//! When to stop.

use std::time::Duration;

use tokio::sync::watch;

/// Comes when somebody asks for it, with the time that is left then. Clones are the same ending.
#[derive(Debug, Clone)]
pub(super) struct Ending(watch::Receiver<Option<Duration>>);

impl Ending {
    pub(super) fn new(asked: watch::Receiver<Option<Duration>>) -> Self {
        Self(asked)
    }

    /// Also when nobody is left who could ask.
    pub(super) fn has_come(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Returns when it has come.
    pub(super) async fn come(&mut self) {
        // An error says that nobody is left who could ask.
        drop(self.0.wait_for(Option::is_some).await);
    }

    /// Returns when the time that was left is over; at once if nobody is left who gave any.
    pub(super) async fn over(mut self) {
        self.come().await;
        let patience = *self.0.borrow();
        tokio::time::sleep(patience.unwrap_or_default()).await;
    }
}
