//! What programs read: one shape for each noun, with keys in snake case.
//!
//! Times are in milliseconds since the Unix epoch; what there is not is null.

mod dataset;
mod event;
mod model;
mod run;
mod worker;

pub(crate) use dataset::{Dataset, Histogram, Shown};
pub(crate) use event::Event;
pub(crate) use model::{Evaluation, Model};
pub(crate) use run::{Round, Run, Submission, Validation};
pub(crate) use worker::{Worker, state as worker_state};

use client::{RunState, v1};

/// A moment, unless it has not come.
fn moment(ms: u64) -> Option<u64> {
    (ms > 0).then_some(ms)
}

/// The word for a state; `unknown` for one of a newer orchestrator.
pub(crate) fn state(state: v1::RunState) -> &'static str {
    RunState::try_from(state).map_or("unknown", RunState::as_str)
}
