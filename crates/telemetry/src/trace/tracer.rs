//! Where the spans of one service begin, and where they go.

use std::sync::Arc;

use super::context::{SpanId, TraceContext, TraceId};
use super::sampler::Sampler;
use super::scope::Scope;
use super::span::{Kind, Part, Recording, Span, SpanRecord};
use crate::export::Outbox;

/// The beginning of every span of one service. Clones are the same tracer.
#[derive(Debug, Clone)]
pub struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: &'static str,
    sampler: Sampler,
    outbox: Option<Arc<Outbox<SpanRecord>>>,
}

impl Tracer {
    /// Of a service whose spans go to `outbox`; without one, none is kept.
    #[must_use]
    pub fn new(
        service: &'static str,
        sampler: Sampler,
        outbox: Option<Arc<Outbox<SpanRecord>>>,
    ) -> Self {
        Self(Arc::new(Inner {
            service,
            sampler,
            outbox,
        }))
    }

    /// Whose spans these are.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// Answers a call that came from `caller`, or begins a trace.
    pub fn serve(&self, name: &'static str, caller: Option<&TraceContext>) -> Span {
        self.begin(name, Kind::Server, caller)
    }

    /// Takes a message that was sent from `sender`, or begins a trace.
    pub fn consume(&self, name: &'static str, sender: Option<&TraceContext>) -> Span {
        self.begin(name, Kind::Consumer, sender)
    }

    /// Goes on from a place of this service that was left earlier, or begins a trace.
    pub fn resume(&self, name: &'static str, from: Option<&TraceContext>) -> Span {
        self.begin(name, Kind::Internal, from)
    }

    /// A place where nothing is kept, whatever the sampler says: for what is done again and again
    /// until something changes. Its log lines know the trace that it belongs to, if it belongs to
    /// any, and do not fill it; nor does what others do for it.
    #[must_use]
    pub fn aside(&self, name: &'static str, from: Option<&TraceContext>) -> Scope {
        let context = from.cloned().unwrap_or_else(|| TraceContext {
            trace: TraceId::random(),
            span: SpanId::random(),
            sampled: false,
            state: None,
        });
        Scope {
            tracer: self.clone(),
            name,
            context: TraceContext {
                sampled: false,
                ..context
            },
            request: None,
            recording: None,
        }
    }

    fn begin(&self, name: &'static str, kind: Kind, parent: Option<&TraceContext>) -> Span {
        self.span(&Part {
            name,
            kind,
            parent,
            parent_is_remote: parent.is_some() && kind != Kind::Internal,
        })
    }

    /// Unlike a child, it names a place even in a trace that is not kept, so that what follows
    /// does not begin another one.
    pub(super) fn span(&self, part: &Part<'_>) -> Span {
        let trace = part
            .parent
            .map_or_else(TraceId::random, |parent| parent.trace);
        let sampled = self.0.sampler.keeps(trace, part.parent);
        let kept = sampled && self.0.outbox.is_some();
        let context = TraceContext {
            trace,
            // A span that is not kept stands for its parent.
            span: match part.parent {
                Some(parent) if !kept => parent.span,
                _ => SpanId::random(),
            },
            sampled,
            state: part.parent.and_then(|parent| parent.state.clone()),
        };
        let recording = kept.then(|| Recording::begin(self, part, context.clone()));
        Span {
            scope: Some(Scope {
                tracer: self.clone(),
                name: part.name,
                context,
                request: None,
                recording,
            }),
        }
    }

    pub(super) fn keep(&self, record: SpanRecord) {
        if let Some(outbox) = &self.0.outbox {
            outbox.put(record);
        }
    }
}
