//! Where an event gets what it lacks, and loses what may not leave.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sentry::Breadcrumb;
use sentry::protocol::{Context, Event, SpanId, TraceContext, TraceId};

use super::scrub::Scrubber;
use crate::trace;

/// Events before an error that go along with it: a few rounds of a run.
const TRAIL_MAX: usize = 100;

pub(super) struct Desk {
    service: &'static str,
    may_name_host: bool,
    scrubber: Scrubber,
    /// What was said lately, on whatever thread: a task moves between them, and what led to its
    /// end was often said on others.
    trail: Mutex<VecDeque<Breadcrumb>>,
}

impl Desk {
    pub(super) fn new(service: &'static str, may_name_host: bool, secrets: &[String]) -> Self {
        Self {
            service,
            may_name_host,
            scrubber: Scrubber::new(secrets),
            trail: Mutex::default(),
        }
    }

    /// Keeps a breadcrumb here rather than with the thread that left it.
    pub(super) fn note(&self, mut crumb: Breadcrumb) -> Option<Breadcrumb> {
        if let Some(here) = trace::current() {
            let trace = here.context().trace.to_string();
            crumb.data.insert("trace_id".to_owned(), trace.into());
            crumb
                .data
                .insert("service".to_owned(), here.service().into());
        }
        let mut trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        if trail.len() == TRAIL_MAX {
            trail.pop_front();
        }
        trail.push_back(crumb);
        None
    }

    /// What is sent of an event. Called on the thread and in the piece of work that went wrong.
    pub(super) fn finish(&self, mut event: Event<'static>) -> Event<'static> {
        let here = trace::current();
        let service = here.as_ref().map_or(self.service, trace::Scope::service);
        event.tags.insert("service".to_owned(), service.to_owned());
        // What the crate writes there is a trace of its own that nobody else knows.
        event.contexts.remove("trace");
        if let Some(here) = here {
            let place = here.context();
            let mut tag = |name: &str, value| event.tags.insert(name.to_owned(), value);
            tag("trace_id", place.trace.to_string());
            tag("span_id", place.span.to_string());
            tag("function", here.name().to_owned());
            here.set("sentry.event_id", event.event_id.simple().to_string());
            let context = TraceContext {
                trace_id: TraceId::from(place.trace.to_bytes()),
                span_id: SpanId::from(place.span.to_bytes()),
                ..TraceContext::default()
            };
            event.contexts.insert("trace".to_owned(), context.into());
        }
        if !self.may_name_host {
            event.server_name = None;
        }
        let trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        event.breadcrumbs.values.extend(trail.iter().cloned());
        drop(trail);
        for context in event.contexts.values_mut() {
            keep_type_apart(context);
        }
        self.scrubber.event(event)
    }
}

/// The protocol writes what a context is beside what is in it, under the key `type`.
fn keep_type_apart(context: &mut Context) {
    if let Context::Other(fields) = context
        && let Some(value) = fields.remove("type")
    {
        fields.insert("event_type".to_owned(), value);
    }
}
