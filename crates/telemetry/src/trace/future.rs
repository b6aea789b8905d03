//! Work that waits in between: a future that is in its span whenever it runs.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::scope::{Here, Scope};
use super::span::Span;

/// Puts a future into a span.
pub trait Traced: Future + Sized {
    /// Works in `span`, which ends with the future.
    fn in_span(self, span: Span) -> InSpan<Self> {
        InSpan {
            scope: span.scope.clone(),
            inner: self,
            _span: span,
        }
    }

    /// Works at `scope`, which goes on afterwards; where the caller is, if it is none.
    fn in_scope(self, scope: Option<Scope>) -> InSpan<Self> {
        InSpan {
            scope: scope.or_else(super::current),
            inner: self,
            _span: Span::none(),
        }
    }

    /// Works where the caller is, on whatever thread; for what is spawned.
    fn in_current(self) -> InSpan<Self> {
        InSpan {
            scope: super::current(),
            inner: self,
            _span: Span::none(),
        }
    }
}

impl<F: Future> Traced for F {}

pin_project! {
    /// See [`Traced`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InSpan<F> {
        // Fields are dropped in order: the work is gone before its span ends.
        #[pin]
        inner: F,
        scope: Option<Scope>,
        _span: Span,
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.scope.is_none() {
            return this.inner.poll(cx);
        }
        // The scope is lent to the thread and taken back, which costs no counting of references.
        let here = Here::enter(this.scope.take());
        let polled = this.inner.poll(cx);
        *this.scope = here.leave();
        polled
    }
}
