//! What a model knows.

use super::examples::Examples;
use super::forward::Activations;
use super::loss::{cross_entropy, softmax};
use super::network::Network;
use super::pool::Pool;
use federation::model::Architecture;
use std::num::NonZeroUsize;
use thiserror::Error;

/// Rows that pass through the model together: enough to run the products near their limit, few
/// enough that the activations stay in the cache. The result's last bits depend on it.
const CHUNK_ROWS: usize = 256;

/// How well a model fits some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Rows measured.
    pub num_examples: u64,
    /// Mean cross-entropy, in nats. Not finite where the parameters or the rows are not.
    pub loss: f64,
    /// Share of rows whose largest logit is their label's; of equal logits the first counts.
    pub accuracy: f64,
}

/// Why a model cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvaluateError {
    /// The parameters are those of another model.
    #[error("the model has {expected} parameters, but {actual} were given")]
    Parameters {
        /// Parameters of the architecture.
        expected: usize,
        /// How many came.
        actual: usize,
    },
    /// The rows are those of another model.
    #[error("the model takes rows of {expected} features, but the rows have {actual}")]
    Inputs {
        /// Width of the model's input.
        expected: usize,
        /// Width of the rows.
        actual: usize,
    },
    /// The labels were checked against another number of classes.
    #[error("the model has {expected} classes, but the labels were checked for {actual}")]
    Classes {
        /// Classes of the model.
        expected: usize,
        /// Classes of the examples.
        actual: usize,
    },
    /// The features do not divide into rows.
    #[error("{features} numbers do not divide into rows of {inputs} features")]
    Ragged {
        /// How many numbers there are.
        features: usize,
        /// Width of the model's input.
        inputs: usize,
    },
    /// A mean over nothing.
    #[error("there is no row to measure the model by")]
    NoExamples,
}

/// Measures a model by labelled rows.
///
/// Uses at most `threads` threads, which changes no bit of the result.
///
/// # Shapes
///
/// `parameters`: `[n_params]`
///
/// # Errors
///
/// [`EvaluateError`], when the model and its parameters or rows do not fit or there is no row.
pub fn evaluate(
    architecture: &Architecture,
    parameters: &[f32],
    examples: &Examples<'_>,
    threads: NonZeroUsize,
) -> Result<Evaluation, EvaluateError> {
    let network = network(architecture, parameters)?;
    check_width(network.inputs, examples.inputs())?;
    if examples.classes() != network.classes {
        return Err(EvaluateError::Classes {
            expected: network.classes,
            actual: examples.classes(),
        });
    }
    let total = examples.rows();
    if total == 0 {
        return Err(EvaluateError::NoExamples);
    }
    let mut pass = Pass::new(&network, total, threads);
    let (mut loss, mut correct) = (0.0, 0_u64);
    for start in (0..total).step_by(CHUNK_ROWS) {
        let rows = CHUNK_ROWS.min(total - start);
        let Pass { pool, activations } = &mut pass;
        activations.gather_examples(&network, pool, examples, rows, |row| start + row);
        activations.forward(&network, pool, parameters, |block| {
            let rows = block.logits.chunks_exact(network.classes);
            for ((logits, label), loss) in rows.zip(block.labels).zip(block.losses) {
                *loss = cross_entropy(logits, *label);
            }
        });
        loss += activations.total_loss();
        correct += activations
            .logits(&network)
            .chunks_exact(network.classes)
            .zip(activations.labels())
            .map(|(logits, label)| u64::from(largest(logits) == *label as usize))
            .sum::<u64>();
    }
    Ok(Evaluation {
        num_examples: total as u64,
        loss: loss / total as f64,
        accuracy: correct as f64 / total as f64,
    })
}

/// The probability a model gives to each class of each row.
///
/// # Shapes
///
/// - `parameters`: `[n_params]`
/// - `features`: `[rows, inputs]`, row-major
/// - output: `[rows, classes]`, each row summing to 1
///
/// # Errors
///
/// [`EvaluateError`], when the model and its parameters do not fit or the features do not divide
/// into rows.
pub fn predict(
    architecture: &Architecture,
    parameters: &[f32],
    features: &[f32],
    threads: NonZeroUsize,
) -> Result<Vec<f32>, EvaluateError> {
    let network = network(architecture, parameters)?;
    let inputs = network.inputs;
    if !features.len().is_multiple_of(inputs) {
        return Err(EvaluateError::Ragged {
            features: features.len(),
            inputs,
        });
    }
    let total = features.len() / inputs;
    let mut pass = Pass::new(&network, total, threads);
    let mut probabilities = Vec::with_capacity(total * network.classes);
    for start in (0..total).step_by(CHUNK_ROWS) {
        let rows = CHUNK_ROWS.min(total - start);
        let Pass { pool, activations } = &mut pass;
        activations.gather(&network, pool, features, rows, |row| start + row);
        activations.forward(&network, pool, parameters, |block| {
            for logits in block.logits.chunks_exact_mut(network.classes) {
                softmax(logits);
            }
        });
        probabilities.extend_from_slice(activations.logits(&network));
    }
    Ok(probabilities)
}

struct Pass {
    pool: Pool,
    activations: Activations,
}

impl Pass {
    fn new(network: &Network, rows: usize, threads: NonZeroUsize) -> Self {
        let chunk = rows.min(CHUNK_ROWS);
        Self {
            pool: match network.worth_sharing(chunk) {
                true => Pool::new(threads),
                false => Pool::new(NonZeroUsize::MIN),
            },
            activations: Activations::new(network, chunk),
        }
    }
}

fn network(architecture: &Architecture, parameters: &[f32]) -> Result<Network, EvaluateError> {
    let network = Network::new(architecture);
    if parameters.len() != network.num_parameters {
        return Err(EvaluateError::Parameters {
            expected: network.num_parameters,
            actual: parameters.len(),
        });
    }
    Ok(network)
}

fn check_width(expected: usize, actual: usize) -> Result<(), EvaluateError> {
    if expected != actual {
        return Err(EvaluateError::Inputs { expected, actual });
    }
    Ok(())
}

/// Index of the first largest value.
fn largest(values: &[f32]) -> usize {
    let better = |best: usize, index: usize| {
        if values[index] > values[best] {
            index
        } else {
            best
        }
    };
    (0..values.len()).fold(0, better)
}
