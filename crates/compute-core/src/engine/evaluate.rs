//! What a model knows.

use super::examples::{Examples, UnknownToken, check_tokens};
use super::forward::Activations;
use super::loss::{measure, softmax};
use super::network::Network;
use super::pool::Pool;
use federation::model::{Architecture, Loss};
use std::num::NonZeroUsize;
use thiserror::Error;

/// The same for a model with a trunk, whose rows are images or sequences and hold far more.
const CHUNK_IMAGES: usize = 32;

/// Rows that pass through the model together: enough to run the products near their limit, few
/// enough that the activations stay in the cache. The result's last bits depend on it.
const CHUNK_ROWS: usize = 256;

/// How well a model fits some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Rows measured.
    pub num_examples: u64,
    /// Mean cross-entropy, in nats, or mean squared error for a regression. Not finite where the
    /// parameters or the rows are not.
    pub loss: f64,
    /// Share of labels whose logit is the largest; of equal logits the first counts. A row of a
    /// sequence has a label at each position. 0 for a regression, which has none.
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
    /// A token that the model does not know.
    #[error(transparent)]
    Token(#[from] UnknownToken),
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
    for start in (0..total).step_by(pass.chunk) {
        let rows = pass.chunk.min(total - start);
        let Pass {
            pool, activations, ..
        } = &mut pass;
        activations.gather_examples(&network, pool, examples, rows, |row| start + row);
        activations.forward(&network, pool, parameters, |block| {
            measure(network.loss, network.classes, block);
        });
        loss += activations.total_loss(&network);
        correct += activations
            .logits(&network)
            .chunks_exact(network.classes)
            .zip(activations.labels(&network))
            .map(|(logits, label)| u64::from(largest(logits) == *label as usize))
            .sum::<u64>();
    }
    Ok(Evaluation {
        num_examples: total as u64,
        loss: loss / (total * network.terms) as f64,
        accuracy: match network.loss {
            Loss::Regression => 0.0,
            Loss::Classification | Loss::NextToken => {
                correct as f64 / (total * network.terms) as f64
            }
        },
    })
}

/// The probability a model gives to each class of each row, or to each next token at each position;
/// for a regression, its values.
///
/// # Shapes
///
/// - `parameters`: `[n_params]`
/// - `features`: `[rows, inputs]`, row-major
/// - output: `[rows, classes]`, or `[rows, positions, vocabulary]`, each row or position summing to
///   1; for a regression `[rows, values]`
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
    check_tokens(architecture, features)?;
    let total = features.len() / inputs;
    let mut pass = Pass::new(&network, total, threads);
    let mut probabilities = Vec::with_capacity(total * network.terms * network.classes);
    for start in (0..total).step_by(pass.chunk) {
        let rows = pass.chunk.min(total - start);
        let Pass {
            pool, activations, ..
        } = &mut pass;
        activations.gather(&network, pool, features, rows, |row| start + row);
        activations.forward(&network, pool, parameters, |block| {
            if network.loss != Loss::Regression {
                for logits in block.logits.chunks_exact_mut(network.classes) {
                    softmax(logits);
                }
            }
        });
        probabilities.extend_from_slice(activations.logits(&network));
    }
    Ok(probabilities)
}

/// What a forward pass needs.
pub(super) struct Pass {
    /// Rows that pass together.
    chunk: usize,
    pub(super) pool: Pool,
    pub(super) activations: Activations,
}

impl Pass {
    fn new(network: &Network, rows: usize, threads: NonZeroUsize) -> Self {
        let most = match network.trunk {
            Some(_) => CHUNK_IMAGES,
            None => CHUNK_ROWS,
        };
        let chunk = rows.min(most).max(1);
        Self {
            chunk,
            pool: match network.worth_sharing(chunk) {
                true => Pool::new(threads),
                false => Pool::new(NonZeroUsize::MIN),
            },
            activations: Activations::new(network, chunk),
        }
    }

    /// For one row, which one thread takes through a trunk.
    pub(super) fn of_one(network: &Network) -> Self {
        Self::new(network, 1, NonZeroUsize::MIN)
    }
}

/// The model, if the parameters are as many as it has.
pub(super) fn network(
    architecture: &Architecture,
    parameters: &[f32],
) -> Result<Network, EvaluateError> {
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
pub(super) fn largest(values: &[f32]) -> usize {
    let better = |best: usize, index: usize| {
        if values[index] > values[best] {
            index
        } else {
            best
        }
    };
    (0..values.len()).fold(0, better)
}
