//! Where a service leaves a fact behind or asks another for something, and who listens there.
//!
//! Every such call says so before it is made, at the one place where its kind passes: the run
//! store's statements, the artifact store's operations, the queue's, calls to other services. A test
//! that listens can count the calls of a run, and end the process before any one of them. Nobody
//! listens otherwise, and then a call costs one look at a pointer.

use std::fmt::Debug;
use std::sync::Arc;

/// What stands behind a seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seam {
    /// The run store.
    Store,
    /// The artifact store.
    Artifacts,
    /// The queue of tasks.
    Queue,
    /// Another service.
    Service,
}

/// One call, about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// Where it goes.
    pub seam: Seam,
    /// What it asks for.
    pub operation: &'a str,
}

/// Somebody who hears of calls.
pub trait Listener: Debug + Send + Sync {
    /// A call is about to be made, which waits until this returns.
    fn hear(&self, call: Call<'_>);
}

/// The seams of one service. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Seams(Option<Arc<dyn Listener>>);

impl Seams {
    /// Tells `listener` of every call.
    #[must_use]
    pub fn heard_by(listener: Arc<dyn Listener>) -> Self {
        Self(Some(listener))
    }

    /// Says that a call is about to be made.
    #[inline]
    pub fn pass(&self, seam: Seam, operation: &str) {
        if let Some(listener) = &self.0 {
            listener.hear(Call { seam, operation });
        }
    }
}
