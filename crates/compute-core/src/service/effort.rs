//! Where a computation is done: on a thread that may be kept busy, or at once where it is short.
//!
//! To wake another thread and to be woken by it takes longer than a training of a few small batches.

use federation::local::{LocalDuration, LocalTraining};
use federation::model::{Architecture, Shape};
use seams::away;
use telemetry::trace::Span;
use tonic::Status;

use super::fault;

/// Most multiplications of what is short: some 50 µs.
const PRODUCTS_MAX: u64 = 1 << 18;

/// As many multiplications take about as long as what a step does beside them.
const STEP_PRODUCTS: u64 = 1 << 13;

/// How long a computation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Less than waking a thread, so that a thread which answers calls can do it.
    Short,
    /// Any time.
    Long,
}

impl Effort {
    /// That of a training on `rows` rows, which reads `bytes`.
    pub(super) fn of_training(
        model: &Architecture,
        local: &LocalTraining,
        (rows, bytes): (u64, usize),
    ) -> Self {
        let batch = u64::from(local.batch_size).clamp(1, rows.max(1));
        let steps = match local.duration {
            LocalDuration::Epochs(epochs) => u64::from(epochs).saturating_mul(rows.div_ceil(batch)),
            LocalDuration::Steps(steps) => u64::from(steps),
        };
        // One pass up, and two down.
        let step = (3 * batch).saturating_mul(model.num_parameters() as u64);
        let products = steps.saturating_mul(step.saturating_add(STEP_PRODUCTS));
        Self::of(model, products, bytes)
    }

    /// That of an evaluation on `rows` rows, which reads `bytes`.
    pub(super) fn of_evaluation(model: &Architecture, (rows, bytes): (u64, usize)) -> Self {
        let products = rows.saturating_mul(model.num_parameters() as u64);
        Self::of(model, products, bytes)
    }

    fn of(model: &Architecture, products: u64, bytes: usize) -> Self {
        // A convolution and attention take each of their weights many times for a row.
        let is_feature = |shape: &Shape| matches!(shape, Shape::Features(_));
        let read = (bytes / size_of::<f32>()) as u64;
        match model.shapes().iter().all(is_feature) {
            true if products.saturating_add(read) <= PRODUCTS_MAX => Self::Short,
            _ => Self::Long,
        }
    }

    /// Does `work` in `span`, or where the caller is if it is nothing. It is done also if the caller
    /// leaves.
    pub(super) async fn spend<T: Send + 'static>(
        self,
        span: &Span,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let place = span.scope();
        let work = move || match place {
            Some(place) => place.run(work),
            None => work(),
        };
        let joined = match self {
            // In a task of its own, since it may panic.
            Self::Short => tokio::spawn(async { work() }).await,
            Self::Long => away::block(work).await,
        };
        joined.unwrap_or_else(|error| Err(fault::broken(&error)))
    }
}

#[cfg(test)]
mod tests {
    use federation::local::{Optimizer, Schedule};
    use federation::model::ModelSpec;

    use super::Effort::{Long, Short};
    use super::*;

    fn training(steps: u32, batch_size: u32) -> LocalTraining {
        LocalTraining {
            duration: LocalDuration::Steps(steps),
            batch_size,
            schedule: Schedule::Constant,
            clip_norm: None,
            optimizer: Optimizer::Sgd {
                learning_rate: 0.1,
                momentum: 0.0,
                weight_decay: 0.0,
            },
        }
    }

    #[test]
    fn a_few_small_batches_are_short_and_anything_more_is_long() {
        let small = ModelSpec::SoftmaxRegression.architecture(64, 10).unwrap();
        let of =
            |local: &LocalTraining, rows, bytes| Effort::of_training(&small, local, (rows, bytes));
        assert_eq!(of(&training(1, 4), 4, 4_000), Short);
        assert_eq!(of(&training(1, 1_000), 4, 4_000), Short, "of four rows");
        assert_eq!(
            of(&training(1, 1_000), 1_000, 4_000),
            Long,
            "of a large batch"
        );
        assert_eq!(of(&training(100, 1), 4, 4_000), Long, "of many steps");
        assert_eq!(
            of(&training(1, 4), 4, 40 << 20),
            Long,
            "of much that is read"
        );
        let epochs = |epochs| LocalTraining {
            duration: LocalDuration::Epochs(epochs),
            ..training(1, 4)
        };
        assert_eq!(of(&epochs(1), 8, 4_000), Short);
        assert_eq!(of(&epochs(1), 1_000, 4_000), Long);
        assert_eq!(of(&epochs(u32::MAX), u64::MAX, 4_000), Long);
        assert_eq!(Effort::of_evaluation(&small, (100, 4_000)), Short);
        assert_eq!(Effort::of_evaluation(&small, (1_000, 4_000)), Long);
    }

    #[tokio::test]
    async fn what_panics_is_told_however_long_it_is() {
        for effort in [Short, Long] {
            let work = || -> Result<(), Status> { panic!("the engine is broken") };
            let told = effort.spend(&Span::none(), work).await;
            assert_eq!(
                told.unwrap_err().code(),
                tonic::Code::Internal,
                "{effort:?}"
            );
        }
    }
}
