//! Goes on with a sequence of tokens, one after the other.

use super::evaluate::{EvaluateError, Pass, largest, network};
use super::network::Network;
use federation::model::{Architecture, Loss};
use federation::seed;
use rand::RngExt;
use thiserror::Error;

/// How the next token is chosen among those that a model thinks likely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What logits are divided by before a token is drawn: 1 draws by the model's own
    /// probabilities, less prefers the likely ones, 0 takes the one of the largest logit.
    pub temperature: f64,
    /// Names the stream of chance.
    pub seed: u64,
}

/// Why a model cannot go on with a sequence.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GenerateError {
    /// A model of something else.
    #[error(
        "the model yields no logits for the next token at every position; one of kind gpt does"
    )]
    NotCausal,
    /// Nothing to go on from.
    #[error("the prompt is empty; at least one token is needed")]
    NoPrompt,
    /// A token that the model does not know.
    #[error(
        "the prompt has {token} at position {position}; the model knows the tokens from 0 to {}", .vocabulary - 1
    )]
    Token {
        /// Where in the prompt, from 0.
        position: usize,
        /// What stands there.
        token: u32,
        /// How many tokens the model knows.
        vocabulary: usize,
    },
    /// A temperature that divides into nothing.
    #[error("the temperature is {temperature}; must be a finite number from 0")]
    Temperature {
        /// What was given.
        temperature: f64,
    },
    /// The parameters are those of another model.
    #[error(transparent)]
    Parameters(#[from] EvaluateError),
    /// The parameters have no meaning any more.
    #[error("the model's logits are not finite numbers; its training diverged")]
    NotFinite,
}

/// Draws tokens from a model of sequences. All memory is planned when it is made.
///
/// The model is causal: what it yields at a position depends on no token after it. A sequence that
/// is shorter than the context is therefore filled up with any token, and read at its own last
/// position; of one that is longer, the model sees the last tokens that its context holds.
pub struct Generator<'a> {
    network: Network,
    parameters: &'a [f32],
    pass: Pass,
    /// `[context]`, of which the first `filled` tokens count.
    window: Vec<f32>,
    filled: usize,
    temperature: f64,
    chance: seed::Stream,
    /// `[vocabulary]`: how likely this token or one before it is, up to a factor.
    sums: Vec<f64>,
}

impl std::fmt::Debug for Generator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator")
            .field("filled", &self.filled)
            .field("temperature", &self.temperature)
            .finish_non_exhaustive()
    }
}

impl<'a> Generator<'a> {
    /// Begins after `prompt`. The same arguments give the same tokens.
    ///
    /// # Shapes
    ///
    /// - `parameters`: `[n_params]`
    /// - `prompt`: any number of tokens, each below the model's number of outputs
    ///
    /// # Errors
    ///
    /// [`GenerateError`], when the model is not one of sequences, or the model, its parameters and
    /// the prompt do not fit.
    pub fn new(
        architecture: &Architecture,
        parameters: &'a [f32],
        prompt: &[u32],
        sampling: Sampling,
    ) -> Result<Self, GenerateError> {
        let Sampling { temperature, seed } = sampling;
        if architecture.loss() != Loss::NextToken {
            return Err(GenerateError::NotCausal);
        }
        if prompt.is_empty() {
            return Err(GenerateError::NoPrompt);
        }
        let vocabulary = architecture.outputs();
        if let Some(position) = prompt.iter().position(|t| *t as usize >= vocabulary) {
            return Err(GenerateError::Token {
                position,
                token: prompt[position],
                vocabulary,
            });
        }
        if !temperature.is_finite() || temperature < 0.0 {
            return Err(GenerateError::Temperature { temperature });
        }
        let network = network(architecture, parameters)?;
        let mut generator = Self {
            pass: Pass::of_one(&network),
            parameters,
            window: vec![0.0; network.inputs],
            filled: 0,
            temperature,
            chance: seed::stream(seed, "generate", &[]),
            sums: vec![0.0; vocabulary],
            network,
        };
        let seen = prompt.len().saturating_sub(generator.window.len());
        for token in &prompt[seen..] {
            generator.push(*token);
        }
        Ok(generator)
    }

    /// The next token, which becomes part of the sequence.
    ///
    /// # Errors
    ///
    /// [`GenerateError::NotFinite`].
    pub fn draw(&mut self) -> Result<u32, GenerateError> {
        let Pass {
            pool, activations, ..
        } = &mut self.pass;
        activations.gather(&self.network, pool, &self.window, 1, |_| 0);
        activations.forward(&self.network, pool, self.parameters, |_| {});
        let vocabulary = self.sums.len();
        let logits = &activations.logits(&self.network)[(self.filled - 1) * vocabulary..];
        let logits = &logits[..vocabulary];
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(GenerateError::NotFinite);
        }
        let best = largest(logits);
        let chosen = if self.temperature > 0.0 {
            let top = f64::from(logits[best]);
            let mut total = 0.0;
            for (sum, logit) in self.sums.iter_mut().zip(logits) {
                total += ((f64::from(*logit) - top) / self.temperature).exp();
                *sum = total;
            }
            let drawn = self.chance.random::<f64>() * total;
            // Rounding may put the draw on the last sum.
            let reached = self.sums.iter().position(|sum| drawn < *sum);
            reached.unwrap_or(best)
        } else {
            best
        };
        let token = u32::try_from(chosen).unwrap_or(u32::MAX);
        self.push(token);
        Ok(token)
    }

    /// Adds a token to the window, which slides when it is full.
    fn push(&mut self, token: u32) {
        if self.filled == self.window.len() {
            self.window.copy_within(1.., 0);
            self.filled -= 1;
        }
        self.window[self.filled] = token as f32;
        self.filled += 1;
    }
}
