//! Where a run is in a trace: what it was submitted in, and where its rounds go.
//!
//! The first rounds are in the trace of the submission. Later ones are in traces of their own, a
//! block of rounds in each, which link to the submission; so no trace grows without end.

use std::fmt::Display;

use federation::RunId;
use proto::v1;
use seams::away;
use telemetry::Telemetry;
use telemetry::trace::{self, Scope, Span, SpanId, TraceContext, TraceId, Traced, current};
use tokio::task::JoinError;

use crate::store::RunRow;

/// Rounds in one trace: enough to see how a run begins and settles. Each has several spans for each
/// client, and whoever looks at a trace loads all of it.
pub const ROUNDS_IN_TRACE: u32 = 16;

/// A run's place in its trace.
#[derive(Debug)]
pub struct RunTrace {
    telemetry: Telemetry,
    run: RunId,
    origin: TraceContext,
    // Which block of rounds was last, and where it is.
    block: Option<(u32, TraceContext)>,
}

impl RunTrace {
    /// Of a run that was submitted at `origin`; one that nobody traced begins a trace now.
    #[must_use]
    pub fn new(telemetry: &Telemetry, run: RunId, origin: Option<TraceContext>) -> Self {
        let origin = origin.or_else(|| {
            let span = telemetry.tracer.resume("run", None);
            span.set("run", run.to_string());
            span.context()
        });
        Self {
            telemetry: telemetry.clone(),
            run,
            origin: origin.unwrap_or_else(unkept),
            block: None,
        }
    }

    /// Of a stored run.
    #[must_use]
    pub fn of(telemetry: &Telemetry, row: &RunRow) -> Self {
        let state = row.tracestate.as_deref().unwrap_or_default();
        let traceparent = row.traceparent.as_deref().unwrap_or_default();
        Self::new(
            telemetry,
            row.run,
            trace::told(traceparent, state, &telemetry.registry),
        )
    }

    /// A step of the run that is not part of a round.
    pub fn step(&self, name: &'static str) -> Span {
        let span = self.telemetry.tracer.resume(name, Some(&self.origin));
        if span.is_kept() {
            span.set("run", self.run.to_string());
        }
        span
    }

    /// A place in the same trace in which nothing is kept.
    #[must_use]
    pub fn aside(&self) -> Scope {
        self.telemetry.tracer.aside("drive", Some(&self.origin))
    }

    /// A round, from its opening to its commit.
    pub fn round(&mut self, number: u32, cohort: usize) -> Span {
        let place = self.place_of(number);
        let span = self.telemetry.tracer.resume("round", Some(&place));
        if span.is_kept() {
            span.set("run", self.run.to_string());
            span.set("round", number);
            span.set("cohort", cohort);
            if place.trace != self.origin.trace {
                span.link(self.origin.clone(), "job");
            }
        }
        span
    }

    fn place_of(&mut self, number: u32) -> TraceContext {
        let block = number.saturating_sub(1) / ROUNDS_IN_TRACE;
        if block == 0 {
            return self.origin.clone();
        }
        match &self.block {
            Some((last, place)) if *last == block => place.clone(),
            _ => {
                let place = self.new_block(block);
                self.block = Some((block, place.clone()));
                place
            }
        }
    }

    fn new_block(&self, block: u32) -> TraceContext {
        // What nobody keeps of a run's beginning, nobody wants of its middle.
        if !self.origin.sampled {
            return unkept();
        }
        let span = self.telemetry.tracer.resume("rounds", None);
        span.set("run", self.run.to_string());
        span.set("first_round", block * ROUNDS_IN_TRACE + 1);
        span.link(self.origin.clone(), "job");
        span.context().unwrap_or_else(unkept)
    }
}

/// A new trace that is not kept.
fn unkept() -> TraceContext {
    TraceContext {
        trace: TraceId::random(),
        span: SpanId::random(),
        sampled: false,
        state: None,
    }
}

/// Where a worker was when it sent a message.
#[must_use]
pub fn told(telemetry: &Telemetry, message: Option<&v1::TraceContext>) -> Option<TraceContext> {
    let message = message?;
    let (parent, state) = (&message.traceparent, &message.tracestate);
    trace::told(parent, state, &telemetry.registry)
}

/// Works in the place of `span`, and has it say so if the work goes wrong.
///
/// # Errors
///
/// Those of the work.
pub async fn attempt<T, E: Display>(
    span: &Span,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let done = work.in_scope(span.scope()).await;
    done.inspect_err(|error| span.fail(error))
}

/// Works on a thread that may block, where the caller is.
///
/// # Errors
///
/// [`JoinError`] when the work panics.
pub async fn block<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let place = current();
    let work = move || match place {
        Some(place) => place.run(work),
        None => work(),
    };
    away::block(work).await
}
