//! Spans of a training's steps: of the first few and of some further ones, so that a long training
//! costs a trace no more than a short one.

use std::ops::ControlFlow;

use telemetry::span;
use telemetry::trace::{Span, current};

use crate::engine::{Progress, Watch};

/// What the spans of this crate say that they are about.
pub(crate) const COMPONENT: &str = "compute-core";

/// Steps that have a span at the beginning of a training, where most goes wrong.
const FIRST: u64 = 4;

/// Further steps that have a span, at equal distances.
const FURTHER: u64 = 12;

/// Puts steps of a training into spans, inside the span that the thread is in when the training
/// begins. In a trace that is not kept it costs one look at a bool for each part of a step.
#[derive(Debug)]
pub struct StepSpans {
    is_kept: bool,
    client: String,
    // Fields are dropped in order: a step that breaks off ends after its pass.
    pass: Option<Span>,
    step: Option<Span>,
}

impl StepSpans {
    /// Spans of a training for `client`, whose name may be empty.
    #[must_use]
    pub fn new(client: &str) -> Self {
        let is_kept = current().is_some_and(|here| here.is_kept());
        Self {
            is_kept,
            client: if is_kept { client } else { "" }.to_owned(),
            pass: None,
            step: None,
        }
    }
}

impl Watch for StepSpans {
    #[inline]
    fn begin_step(&mut self, step: u64, steps_total: u64) {
        if self.is_kept && has_span(step, steps_total) {
            let span = span!("training_step", "component" = COMPONENT, "step" = step);
            if !self.client.is_empty() {
                span.set("agent_id", self.client.clone());
            }
            self.pass = Some(inside(&span, "forward_pass"));
            self.step = Some(span);
        }
    }

    #[inline]
    fn begin_backward(&mut self) {
        if let Some(step) = &self.step {
            // One ends before the other begins.
            self.pass = None;
            self.pass = Some(inside(step, "backward_pass"));
        }
    }

    #[inline]
    fn end_step(&mut self, progress: Progress) -> ControlFlow<()> {
        if let Some(step) = self.step.take() {
            self.pass = None;
            step.set("batch_size", progress.rows);
            step.set("loss", progress.loss);
            step.set("accuracy", progress.accuracy);
        }
        ControlFlow::Continue(())
    }
}

/// How many steps of a training of `steps_total` have a span, at most `FIRST + FURTHER`.
pub(crate) fn num_spans(steps_total: u64) -> u64 {
    steps_total.min(FIRST) + steps_total.saturating_sub(FIRST) / distance(steps_total)
}

fn has_span(step: u64, steps_total: u64) -> bool {
    step <= FIRST || (step - FIRST).is_multiple_of(distance(steps_total))
}

fn distance(steps_total: u64) -> u64 {
    steps_total.saturating_sub(FIRST).div_ceil(FURTHER).max(1)
}

fn inside(step: &Span, name: &'static str) -> Span {
    let pass = match step.scope() {
        Some(place) => place.run(|| Span::child(name)),
        None => Span::none(),
    };
    pass.set("component", COMPONENT);
    pass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_few_however_many_steps_there_are() {
        for steps_total in (0..200).chain([999, 10_000, u64::from(u32::MAX)]) {
            let spans = num_spans(steps_total);
            assert_eq!(spans.min(4), steps_total.min(4));
            assert!(spans <= 16 && spans <= steps_total, "{steps_total}");
            if steps_total <= 10_000 {
                let shown = (1..=steps_total).filter(|step| has_span(*step, steps_total));
                assert_eq!(shown.count() as u64, spans, "{steps_total}");
            }
        }
        assert_eq!(num_spans(16), 16);
        assert!(num_spans(10_000) > 12);
    }
}
