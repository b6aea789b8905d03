//! Looking on while a model is trained.

use std::ops::ControlFlow;

/// Looks on while a model is trained, on the thread that trains it. Changes no bit of the result.
///
/// A closure that takes a [`Progress`] hears of every step that was taken.
pub trait Watch {
    /// A step begins, and with it its forward pass. Steps count from 1.
    fn begin_step(&mut self, _step: u64, _steps_total: u64) {}

    /// The batch's losses are known; the backward pass begins, which updates the parameters.
    fn begin_backward(&mut self) {}

    /// A step was taken. To break is to end the training.
    fn end_step(&mut self, progress: Progress) -> ControlFlow<()>;
}

/// Where a training stands after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// Steps of the whole training.
    pub steps_total: u64,
    /// Rows of the step's batch.
    pub rows: usize,
    /// Mean cross-entropy of the step's batch, before its update, in nats.
    pub loss: f64,
    /// Share of the batch's rows where no logit, before the update, is larger than the label's.
    /// From 0 to 1.
    pub accuracy: f64,
}

impl<W: FnMut(Progress) -> ControlFlow<()>> Watch for W {
    fn end_step(&mut self, progress: Progress) -> ControlFlow<()> {
        self(progress)
    }
}
