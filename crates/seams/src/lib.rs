//! Where a service leaves a fact behind or asks another for something, and who listens there.
//!
//! Every such call says so before it is made, at the one place where its kind passes: the run
//! store's statements, the artifact store's operations, the queue's, calls to other services. A test
//! that listens can count the calls of a run, end the process before any one of them, hold each back
//! until its turn has come, or have it fail. Nobody listens otherwise, and then a call costs one look
//! at a pointer.

pub mod away;
pub mod bell;

use std::fmt::{self, Debug};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What stands behind a seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Where it goes.
    pub seam: Seam,
    /// What it asks for.
    pub operation: &'a str,
    /// What it asks with, as far as that is known where it passes.
    pub arguments: &'a dyn Debug,
    /// Whether it is made in the middle of another one, which nothing else can go before.
    pub is_within: bool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub enum Passage {
    /// It is made, and its answer comes back.
    #[default]
    Free,
    /// It is not made: whoever was asked is away.
    Refused,
    /// It is made, and its answer is lost on the way back.
    AnswerLost,
}

/// Somebody who hears of calls.
pub trait Listener: Debug + Send + Sync {
    /// A call is about to be made. It waits for what is returned; for nothing, it is made at once.
    fn hear(&self, call: Call<'_>) -> Option<Waiting>;

    /// All that a call is made with was sent, where that takes a while.
    fn hear_sent(&self, call: Call<'_>) {
        let _ = call;
    }
}

/// A call that is held back.
pub type Waiting = Pin<Box<dyn Future<Output = Passage> + Send>>;

/// The seams of one service. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Seams {
    listener: Option<Arc<dyn Listener>>,
    is_within: bool,
}

impl Seams {
    /// Tells `listener` of every call.
    #[must_use]
    pub fn heard_by(listener: Arc<dyn Listener>) -> Self {
        Self {
            listener: Some(listener),
            is_within: false,
        }
    }

    /// The same seams in the middle of a call, such as a transaction, for the calls that it consists
    /// of.
    #[must_use]
    pub fn within(&self) -> Self {
        Self {
            listener: self.listener.clone(),
            is_within: true,
        }
    }

    /// Whether anybody listens, who would want to know what a call is made with.
    #[must_use]
    pub fn are_heard(&self) -> bool {
        self.listener.is_some()
    }

    /// Says that a call is about to be made, which waits for what this returns.
    #[inline]
    pub fn pass(&self, seam: Seam, operation: &str, arguments: &dyn Debug) -> Passing {
        let Some(listener) = &self.listener else {
            return Passing(None);
        };
        Passing(listener.hear(Call {
            seam,
            operation,
            arguments,
            is_within: self.is_within,
        }))
    }

    /// Says that all of a call was sent.
    pub fn sent(&self, seam: Seam, operation: &str, arguments: &dyn Debug) {
        if let Some(listener) = &self.listener {
            listener.hear_sent(Call {
                seam,
                operation,
                arguments,
                is_within: self.is_within,
            });
        }
    }

    /// Makes `call` when its turn has come, if it comes to that.
    ///
    /// # Errors
    ///
    /// Those of the call, and what stands for it where a listener wants it to fail.
    pub fn make<T, E: From<io::Error>, C: Future<Output = Result<T, E>>>(
        &self,
        seam: Seam,
        operation: &str,
        arguments: &dyn Debug,
        call: C,
    ) -> impl Future<Output = Result<T, E>> + use<T, E, C> {
        let passing = self.pass(seam, operation, arguments);
        // On the heap, so that the call is not twice as large for having been waited for.
        let call = Box::pin(call);
        async move {
            let passage = passing.await;
            if passage == Passage::Refused {
                return Err(lost("refused").into());
            }
            let answer = call.await?;
            if passage == Passage::AnswerLost {
                return Err(lost("made, and its answer lost").into());
            }
            Ok(answer)
        }
    }
}

fn lost(how: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        format!("the call was {how}, as who listens at this seam would have it"),
    )
}

/// A call that waits to be made.
#[must_use]
pub struct Passing(Option<Waiting>);

impl Passing {
    /// Whether somebody holds it back, or may.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

impl Debug for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Passing").field(&self.is_held()).finish()
    }
}

impl Future for Passing {
    type Output = Passage;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Passage> {
        match &mut self.0 {
            Some(waiting) => waiting.as_mut().poll(cx),
            None => Poll::Ready(Passage::Free),
        }
    }
}
