//! One piece of work, from its beginning to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::context::{SpanId, TraceContext};
use super::scope::{Here, Scope, with_current};
use super::tracer::Tracer;

/// Which side of a call or a message a span is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Work inside one service.
    #[default]
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call.
    Client,
    /// Sends a message.
    Producer,
    /// Takes a message.
    Consumer,
}

/// What is known about a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A word of the program.
    Word(&'static str),
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

/// Another place that a span has to do with, besides its parent.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Which place.
    pub to: TraceContext,
    /// What it is to the span, such as `job` or `redelivery`.
    pub relation: &'static str,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanRecord {
    /// The service that did the work.
    pub service: &'static str,
    /// What was done.
    pub name: &'static str,
    /// Which side it was on.
    pub kind: Kind,
    /// Where it was.
    pub context: TraceContext,
    /// What caused it.
    pub parent: Option<SpanId>,
    /// Whether the parent is in another service.
    pub parent_is_remote: bool,
    /// When it began.
    pub started: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What is known about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Other places that it has to do with.
    pub links: Vec<Link>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// A span that is being kept. Its record is filled in as the work goes on.
#[derive(Debug)]
pub(super) struct Recording(Mutex<SpanRecord>);

/// A piece of work. It ends when dropped.
#[derive(Debug)]
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    pub(super) scope: Option<Scope>,
}

impl Span {
    /// Inside the current span; nothing in a trace that is not kept.
    pub fn child(name: &'static str) -> Self {
        with_current(|here| match here {
            Some(parent) if parent.is_kept() => {
                let part = Part {
                    name,
                    kind: Kind::Internal,
                    parent: Some(&parent.context),
                    parent_is_remote: false,
                };
                parent.tracer.span(&part).on_request(parent.request.clone())
            }
            _ => Self::none(),
        })
    }

    /// Nothing: what is done in it is done where its caller is.
    pub fn none() -> Self {
        Self { scope: None }
    }

    /// Is done for this request of a caller, as is whatever follows from it here.
    pub(crate) fn on_request(mut self, request: Option<Arc<str>>) -> Self {
        if let Some(scope) = &mut self.scope {
            scope.request = request;
        }
        self
    }

    /// Whether somebody will see it. Ask before computing what only a span wants to know.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.scope.as_ref().is_some_and(Scope::is_kept)
    }

    /// What to tell the next service; of the current span if this one is nothing.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        match &self.scope {
            Some(scope) => Some(scope.context.clone()),
            None => super::current_context(),
        }
    }

    /// The place, to be taken along to another thread.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        self.scope.clone().or_else(super::current)
    }

    /// Takes out the place where the work is done, for who enters it more than once. What is left
    /// ends the span.
    pub(crate) fn split(mut self) -> (Option<Scope>, Self) {
        let scope = if self.is_kept() {
            self.scope.clone()
        } else {
            self.scope.take()
        };
        (scope, self)
    }

    /// Says something about the span.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(scope) = &self.scope {
            scope.set(key, value);
        }
    }

    /// Names another place that this span has to do with.
    pub fn link(&self, to: TraceContext, relation: &'static str) {
        if let Some(recording) = self.recording() {
            recording.edit(|record| record.links.push(Link { to, relation }));
        }
    }

    /// Says that the work went wrong.
    pub fn fail(&self, error: impl std::fmt::Display) {
        if let Some(recording) = self.recording() {
            recording.edit(|record| record.error = Some(error.to_string()));
        }
    }

    /// Does `work` in the span and ends it.
    pub fn run<T>(mut self, work: impl FnOnce() -> T) -> T {
        let Some(scope) = self.scope.take() else {
            return work();
        };
        // Ends the span even if the work panics; after the place is left, which shares the record.
        let _span = Self {
            scope: Some(scope.clone()),
        };
        let _here = Here::enter(Some(scope));
        work()
    }

    fn recording(&self) -> Option<&Arc<Recording>> {
        self.scope.as_ref()?.recording.as_ref()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(scope) = self.scope.take() else {
            return;
        };
        if let Some(recording) = scope.recording {
            scope.tracer.keep(recording.finish());
        }
    }
}

/// How a span begins.
pub(super) struct Part<'a> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) parent: Option<&'a TraceContext>,
    pub(super) parent_is_remote: bool,
}

impl Recording {
    pub(super) fn begin(tracer: &Tracer, part: &Part<'_>, context: TraceContext) -> Arc<Self> {
        let now = now();
        Arc::new(Self(Mutex::new(SpanRecord {
            service: tracer.service(),
            name: part.name,
            kind: part.kind,
            context,
            parent: part.parent.map(|parent| parent.span),
            parent_is_remote: part.parent_is_remote,
            started: now,
            ended: now,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        })))
    }

    pub(super) fn set(&self, key: &'static str, value: Value) {
        self.edit(|record| record.attributes.push((key, value)));
    }

    fn edit(&self, change: impl FnOnce(&mut SpanRecord)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn finish(self: Arc<Self>) -> SpanRecord {
        let mut record = match Arc::try_unwrap(self) {
            Ok(recording) => recording
                .0
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            // Somebody took the place along to another thread and is still there.
            Err(shared) => {
                let record = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                record.clone()
            }
        };
        record.ended = now();
        record
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a trace tells when things happened to people who look at their own clocks"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Self::Float(value.into())
    }
}

macro_rules! from_whole {
    ($($whole:ty),*) => {$(
        impl From<$whole> for Value {
            fn from(value: $whole) -> Self {
                Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
            }
        }
    )*};
}

from_whole!(i32, i64, u32, u64, usize);
