//! Training, evaluation, prediction and generation of models that are lists of layers: pure and synchronous.
//!
//! A model is a parameter vector in the layout of [`federation::model::Architecture::tensors`].
//! The same seed, rows and settings give the same bits whatever the number of threads: every
//! product is cut into tiles of its output, the cuts depend on the model and the batch alone, and
//! one thread computes a tile from its first term to its last. Bits differ between the
//! classes of kernels, of which each CPU has its own and those below it; see [`Kernels`].

mod backward;
mod batches;
mod clipping;
mod curve;
mod evaluate;
mod examples;
mod forward;
mod generate;
mod initial;
mod kernels;
mod lanes;
mod loss;
mod matrix;
mod network;
mod optimizer;
mod pool;
mod sheets;
mod train;
mod trunk;
mod watch;

pub use evaluate::{EvaluateError, Evaluation, evaluate, predict};
pub use examples::{Examples, ExamplesError};
pub use generate::{GenerateError, Generator, Sampling};
pub use initial::initial_parameters;
pub use kernels::Kernels;
pub use train::{PlanError, TrainError, TrainReport, Trainer};
pub use watch::{Progress, Watch};
