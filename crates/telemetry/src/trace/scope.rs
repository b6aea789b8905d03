//! What a thread is working on right now.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::context::{SpanId, TraceContext, TraceId};
use super::span::{Recording, Value};
use super::tracer::Tracer;

thread_local! {
    static HERE: RefCell<Option<Scope>> = const { RefCell::new(None) };
    // The same for those who only want to know whether, and cannot spend more than a nanosecond.
    static KEPT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// A place in a trace, and who works there. Cheap to clone, to be taken along to another thread.
#[derive(Debug, Clone)]
pub struct Scope {
    pub(super) tracer: Tracer,
    pub(super) name: &'static str,
    pub(super) context: TraceContext,
    pub(super) request: Option<Arc<str>>,
    pub(super) recording: Option<Arc<Recording>>,
}

impl Scope {
    /// The service at work.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.tracer.service()
    }

    /// The piece of work, by the name of its span.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What to tell the next service.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// What the caller calls the request that this is done for, if it calls it anything.
    #[must_use]
    pub fn request(&self) -> Option<&str> {
        self.request.as_deref()
    }

    /// Whether what happens here is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.recording.is_some()
    }

    /// Says something about the span that this is.
    pub(crate) fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(recording) = &self.recording {
            recording.set(key, value.into());
        }
    }

    /// Does `work` here, on this thread.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let _here = Here::enter(Some(self));
        work()
    }
}

/// Where this thread is, if anywhere.
#[must_use]
pub fn current() -> Option<Scope> {
    HERE.with_borrow(Clone::clone)
}

/// What to tell the next service from here.
#[must_use]
pub fn current_context() -> Option<TraceContext> {
    HERE.with_borrow(|here| here.as_ref().map(|scope| scope.context.clone()))
}

/// Looks at where this thread is without taking it along.
pub(crate) fn with_current<T>(look: impl FnOnce(Option<&Scope>) -> T) -> T {
    HERE.with_borrow(|here| look(here.as_ref()))
}

/// The kept span that this thread is in.
#[inline]
pub(crate) fn kept_here() -> Option<(TraceId, SpanId)> {
    KEPT.get()
}

/// Puts a scope in place until dropped, then the one before.
pub(crate) struct Here {
    before: Option<Scope>,
}

impl Here {
    pub(crate) fn enter(scope: Option<Scope>) -> Self {
        Self {
            before: replace(scope),
        }
    }

    /// Ends early and gives back what was put in place.
    pub(crate) fn leave(mut self) -> Option<Scope> {
        let own = replace(self.before.take());
        std::mem::forget(self);
        own
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        drop(replace(self.before.take()));
    }
}

fn replace(scope: Option<Scope>) -> Option<Scope> {
    let kept = scope.as_ref().filter(|scope| scope.is_kept());
    KEPT.set(kept.map(|scope| (scope.context.trace, scope.context.span)));
    HERE.replace(scope)
}
