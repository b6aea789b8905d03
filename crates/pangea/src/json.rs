//! What programs read: one shape for each noun, with keys in snake case.
//!
//! Times are in milliseconds since the Unix epoch; what there is not is null.

mod dataset;
mod event;
mod lineage;
mod model;
mod run;
mod storage;
mod worker;

pub(crate) use dataset::{Dataset, Histogram, Shown};
pub(crate) use event::Event;
pub(crate) use lineage::{Lineage, LineageRound};
pub(crate) use model::{Evaluation, Generated, Model, Wrote, predictions};
pub(crate) use run::{Round, Run, Submission, Validation};
pub(crate) use storage::{Collection, Replay};
pub(crate) use worker::{Worker, state as worker_state};

use client::{RunState, v1};
use serde::Serialize;

/// A moment, unless it has not come.
fn moment(ms: u64) -> Option<u64> {
    (ms > 0).then_some(ms)
}

/// The word for a state; `unknown` for one of a newer orchestrator.
pub(crate) fn state(state: v1::RunState) -> &'static str {
    RunState::try_from(state).map_or("unknown", RunState::as_str)
}

/// Where the parts of the house answer.
pub(crate) fn places(places: &[crate::house::Place]) -> Vec<Place> {
    let place = |place: &crate::house::Place| Place {
        service: place.service.clone(),
        grpc: place.grpc.map(|grpc| grpc.to_string()),
        http: format!("http://{}", place.http),
    };
    places.iter().map(place).collect()
}

/// Where a part of the house answers.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc: Option<String>,
    http: String,
}
