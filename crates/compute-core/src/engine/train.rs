//! One client's training in one round.

use super::backward::Gradients;
use super::batches::Batches;
use super::clipping::Clipping;
use super::examples::Examples;
use super::forward::Activations;
use super::loss::grade;
use super::network::Network;
use super::optimizer::{Part, Rule, slots};
use super::pool::Pool;
use super::watch::{Progress, Watch};
use federation::local::{LocalDuration, LocalTraining};
use federation::model::Architecture;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use thiserror::Error;

/// Trains one architecture by one recipe, as often as asked, in buffers planned once.
pub struct Trainer {
    network: Network,
    training: LocalTraining,
    rows_max: usize,
    batch_size: usize,
    pool: Pool,
    batches: Batches,
    activations: Activations,
    gradients: Gradients,
    clipping: Clipping,
    /// The optimizer's vectors, `[n_params]` each, or empty.
    memory: [Vec<f32>; 2],
}

/// What a training did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainReport {
    /// Distinct rows behind the new parameters: all rows of the shard, or fewer where the steps
    /// ended before the first pass did. Rows seen again count once.
    pub num_examples: u64,
    /// Batches taken.
    pub num_steps: u64,
    /// Complete passes over the shard.
    pub num_epochs: u64,
    /// Mean cross-entropy over the rows of the last pass, complete or not, each as its batch found
    /// it.
    pub last_epoch_loss: f64,
    /// Share of the same rows where no logit was larger than the label's, each as its batch found
    /// it. From 0 to 1. Unlike an evaluation, it takes a tie for right: to tell ties apart would
    /// cost a small model three steps in a hundred.
    pub last_epoch_accuracy: f64,
    /// Mean cross-entropy of the last batch, before its update.
    pub final_loss: f64,
}

/// What the forward pass of a step found out.
struct Found {
    /// Whether the step is the first of a pass over the shard.
    opens: bool,
    /// Rows of the batch.
    rows: usize,
    /// Their losses: one for each, or for each position of its sequence.
    terms: usize,
    /// Sum of the losses.
    loss: f64,
    /// Losses where no logit is larger than the label's.
    right: u32,
}

/// Why a training cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A batch of nothing.
    #[error("the batch size is 0; at least 1 is needed")]
    EmptyBatch,
    /// Zero epochs or steps.
    #[error("the training lasts 0 epochs or steps; at least 1 is needed")]
    NoSteps,
    /// Room for nothing.
    #[error("the training is planned for 0 rows; at least 1 is needed")]
    NoRows,
    /// More memory than we plan for.
    #[error(
        "a step on {batch_size} rows holds {values} numbers between the layers; at most {VALUES_MAX} are planned for; choose a smaller batch"
    )]
    TooLarge {
        /// Rows of a batch.
        batch_size: usize,
        /// Numbers that the training would hold.
        values: usize,
    },
}

/// Most numbers that a training holds between its layers: 2³², 16 GiB.
const VALUES_MAX: usize = 1 << 32;

/// Why a training ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrainError {
    /// The parameters are those of another model.
    #[error("the model has {expected} parameters, but {actual} were given")]
    Parameters {
        /// Parameters of the architecture.
        expected: usize,
        /// How many came.
        actual: usize,
    },
    /// The examples were checked against another model.
    #[error(
        "the model maps {inputs} features to {classes} classes, but the examples have {example_inputs} and {example_classes}"
    )]
    Examples {
        /// Width of the model's input.
        inputs: usize,
        /// Classes of the model.
        classes: usize,
        /// Width of the rows.
        example_inputs: usize,
        /// Classes the labels were checked for.
        example_classes: usize,
    },
    /// Nothing to learn from.
    #[error("there is no row to train on")]
    NoExamples,
    /// The buffers are too small.
    #[error("the shard has {rows} rows, but the training was planned for at most {rows_max}")]
    TooManyRows {
        /// Rows of the shard.
        rows: usize,
        /// Rows planned for.
        rows_max: usize,
    },
    /// The loss of a step, or the parameters the last step left, are infinite or NaN.
    #[error("the training diverged at step {step}; its loss or parameters are not finite")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
    },
    /// The caller asked to stop.
    #[error("the training was cancelled after step {step}")]
    Cancelled {
        /// Steps taken, counted from 1.
        step: u64,
    },
}

/// Rows of a batch of a training on up to `rows_max` rows.
fn plan_batch(
    network: &Network,
    training: &LocalTraining,
    rows_max: usize,
) -> Result<usize, PlanError> {
    if training.batch_size == 0 {
        return Err(PlanError::EmptyBatch);
    }
    if matches!(
        training.duration,
        LocalDuration::Epochs(0) | LocalDuration::Steps(0)
    ) {
        return Err(PlanError::NoSteps);
    }
    if rows_max == 0 {
        return Err(PlanError::NoRows);
    }
    let batch_size = rows_max.min(training.batch_size as usize);
    let values = network.num_values(batch_size);
    if values > VALUES_MAX {
        return Err(PlanError::TooLarge { batch_size, values });
    }
    Ok(batch_size)
}

impl Trainer {
    /// Plans the training of `architecture` on shards of up to `rows_max` rows.
    ///
    /// Models too small to gain from other threads are trained by the calling thread alone.
    ///
    /// # Errors
    ///
    /// [`PlanError`], when there would be no step, no row or no batch, or too little memory.
    pub fn new(
        architecture: &Architecture,
        training: &LocalTraining,
        rows_max: usize,
        threads: NonZeroUsize,
    ) -> Result<Self, PlanError> {
        let network = Network::new(architecture);
        let batch_size = plan_batch(&network, training, rows_max)?;
        let slots = slots(training.optimizer);
        let memory = |slot: usize| {
            vec![
                0.0;
                if slot < slots {
                    network.num_parameters
                } else {
                    0
                }
            ]
        };
        let pool = match network.worth_sharing(batch_size) {
            true => Pool::new(threads),
            false => Pool::new(NonZeroUsize::MIN),
        };
        Ok(Self {
            training: *training,
            rows_max,
            batch_size,
            batches: Batches::new(rows_max, batch_size),
            activations: Activations::new(&network, batch_size),
            gradients: Gradients::new(&network, batch_size, pool.threads()),
            pool,
            clipping: Clipping::new(network.num_parameters),
            memory: [memory(0), memory(1)],
            network,
        })
    }

    /// Bytes that such a training holds at least: the parameters as they were, as they become and as
    /// products read them, their gradient, the optimizer's memory, and what stands between the layers.
    ///
    /// # Errors
    ///
    /// As [`Trainer::new`].
    pub fn num_bytes(
        architecture: &Architecture,
        training: &LocalTraining,
        rows_max: usize,
    ) -> Result<u64, PlanError> {
        let network = Network::new(architecture);
        let batch_size = plan_batch(&network, training, rows_max)?;
        let vectors = 3 + slots(training.optimizer);
        let numbers = network.num_parameters * vectors
            + network.prepared_len()
            + network.num_values(batch_size);
        Ok((numbers * size_of::<f32>()) as u64)
    }

    /// Trains `parameters` on `examples`, in an order drawn from `seed`.
    ///
    /// The optimizer starts without memory. `watch` hears of every step and may end the training.
    /// The same arguments give the same bits, whatever the number of threads.
    ///
    /// # Shapes
    ///
    /// `parameters`: `[n_params]`. After an error they are those of the last step taken.
    ///
    /// # Errors
    ///
    /// - [`TrainError::Parameters`], [`TrainError::Examples`], [`TrainError::NoExamples`] and
    ///   [`TrainError::TooManyRows`] before the first step, when the arguments do not fit the plan.
    /// - [`TrainError::Diverged`] names the first step whose loss is not finite, or the last step
    ///   when it left parameters that are not.
    /// - [`TrainError::Cancelled`] when `watch` breaks.
    pub fn train(
        &mut self,
        parameters: &mut [f32],
        examples: &Examples<'_>,
        seed: u64,
        watch: &mut impl Watch,
    ) -> Result<TrainReport, TrainError> {
        self.check(parameters, examples)?;
        self.memory.iter_mut().for_each(|memory| memory.fill(0.0));
        self.batches.restart(examples.rows(), seed);

        let steps_total = self.steps_total(examples.rows());
        let (mut epoch_loss, mut epoch_right, mut epoch_rows) = (0.0, 0, 0);
        let terms = self.network.terms;
        let (mut num_examples, mut final_loss) = (0, 0.0);
        for step in 1..=steps_total {
            watch.begin_step(step, steps_total);
            let found = self.forward(parameters, examples);
            if !found.loss.is_finite() {
                return Err(TrainError::Diverged { step });
            }
            watch.begin_backward();
            self.backward(parameters, step, steps_total);
            if found.opens {
                (epoch_loss, epoch_right, epoch_rows) = (0.0, 0, 0);
            }
            epoch_loss += found.loss;
            epoch_right += u64::from(found.right);
            epoch_rows += found.rows;
            num_examples = num_examples.max(epoch_rows);
            let progress = found.progress(step, steps_total);
            final_loss = progress.loss;
            if watch.end_step(progress).is_break() {
                return Err(TrainError::Cancelled { step });
            }
        }
        if !parameters.iter().all(|parameter| parameter.is_finite()) {
            return Err(TrainError::Diverged { step: steps_total });
        }
        Ok(TrainReport {
            num_examples: num_examples as u64,
            num_steps: steps_total,
            num_epochs: steps_total / self.steps_per_pass(examples.rows()),
            last_epoch_loss: epoch_loss / (epoch_rows * terms) as f64,
            last_epoch_accuracy: epoch_right as f64 / (epoch_rows * terms) as f64,
            final_loss,
        })
    }

    fn check(&self, parameters: &[f32], examples: &Examples<'_>) -> Result<(), TrainError> {
        let network = &self.network;
        if parameters.len() != network.num_parameters {
            return Err(TrainError::Parameters {
                expected: network.num_parameters,
                actual: parameters.len(),
            });
        }
        if (examples.inputs(), examples.classes()) != (network.inputs, network.classes) {
            return Err(TrainError::Examples {
                inputs: network.inputs,
                classes: network.classes,
                example_inputs: examples.inputs(),
                example_classes: examples.classes(),
            });
        }
        match examples.rows() {
            0 => Err(TrainError::NoExamples),
            rows if rows > self.rows_max => Err(TrainError::TooManyRows {
                rows,
                rows_max: self.rows_max,
            }),
            _ => Ok(()),
        }
    }

    fn steps_total(&self, rows: usize) -> u64 {
        match self.training.duration {
            LocalDuration::Epochs(epochs) => u64::from(epochs) * self.steps_per_pass(rows),
            LocalDuration::Steps(steps) => u64::from(steps),
        }
    }

    fn steps_per_pass(&self, rows: usize) -> u64 {
        rows.div_ceil(self.batch_size) as u64
    }

    /// Takes the next batch as far as its losses, whose gradient replaces its logits.
    fn forward(&mut self, parameters: &[f32], examples: &Examples<'_>) -> Found {
        let Self {
            network,
            pool,
            activations,
            ..
        } = self;
        let (batch, opens) = self.batches.next();
        let rows = batch.len();
        activations.gather_examples(network, pool, examples, rows, |row| batch[row]);
        let (classes, loss) = (network.classes, network.loss);
        let weight = 1.0 / (rows * network.terms) as f32;
        // A sum of whole numbers, so that the order of threads does not matter.
        let right = AtomicU32::new(0);
        activations.forward(network, pool, parameters, |block| {
            right.fetch_add(grade(loss, classes, block, weight), Ordering::Relaxed);
        });
        Found {
            opens,
            rows,
            terms: rows * network.terms,
            loss: activations.total_loss(network),
            right: right.into_inner(),
        }
    }

    /// Goes back down from the gradient and updates the parameters.
    fn backward(&mut self, parameters: &mut [f32], step: u64, steps_total: u64) {
        let factor = self.training.schedule.factor(step, steps_total);
        let rule = Rule::at(self.training.optimizer, step, factor);
        if let Some(norm) = self.training.clip_norm {
            self.sum_gradients(parameters, Rule::Wait);
            let [first, second] = &mut self.memory;
            let all = Part {
                values: parameters,
                gradient: &mut self.gradients.parameters,
                first,
                second,
            };
            self.clipping.step(&mut self.pool, all, norm, rule);
        } else {
            self.sum_gradients(parameters, rule);
        }
    }

    fn sum_gradients(&mut self, parameters: &mut [f32], rule: Rule) {
        self.gradients.step(
            &self.network,
            &mut self.pool,
            &mut self.activations,
            parameters,
            &mut self.memory,
            rule,
        );
    }
}

impl Found {
    fn progress(&self, step: u64, steps_total: u64) -> Progress {
        let terms = self.terms as f64;
        Progress {
            step,
            steps_total,
            rows: self.rows,
            loss: self.loss / terms,
            accuracy: f64::from(self.right) / terms,
        }
    }
}
