//! From a prompt to what compute-core is asked for.

use federation::model::Loss;
use proto::engine::GENERATED_MAX;
use proto::v1::{GenerateRequest, GenerateTextRequest};
use thiserror::Error;

use crate::datasets::text::{UnknownCharacter, Vocabulary};
use crate::store::ModelRow;

/// Why a model does not go on with a text.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GenerateError {
    /// Its numbers are no characters.
    #[error(
        "model {model} has no vocabulary, as it was not trained on a text; import one with \
         `pangea dataset import FILE --text --context N`, and train a model of kind gpt on it"
    )]
    NoVocabulary {
        /// Which model.
        model: String,
    },
    /// It reads no text that is shorter than its context.
    #[error(
        "model {model} yields the character after a whole row alone, and none for a prompt that \
         is shorter; train one of kind gpt"
    )]
    NotCausal {
        /// Which model.
        model: String,
    },
    /// Nothing to go on from.
    #[error("is empty; must have at least one character")]
    NoPrompt,
    /// A character that the model does not know.
    #[error(transparent)]
    Character(#[from] UnknownCharacter),
    /// Too little or too much.
    #[error("is {length}; must be from 1 to {GENERATED_MAX}")]
    Length {
        /// What was asked for.
        length: u32,
    },
    /// No temperature.
    #[error("is {temperature}; must be a finite number from 0")]
    Temperature {
        /// What was given.
        temperature: f64,
    },
}

/// The vocabulary of a model, and the tokens and numbers that compute-core is asked with.
///
/// # Errors
///
/// [`GenerateError`], before anything is computed.
pub fn plan(
    model: &ModelRow,
    asked: GenerateTextRequest,
) -> Result<(Vocabulary, GenerateRequest), GenerateError> {
    let GenerateTextRequest {
        prompt,
        length,
        temperature,
        seed,
        ..
    } = asked;
    let name = || format!("{}@{}", model.name, model.version);
    let Some(vocabulary) = model.manifest.vocabulary() else {
        return Err(GenerateError::NoVocabulary { model: name() });
    };
    let architecture = &model.manifest.architecture;
    if architecture.loss() != Loss::NextToken {
        return Err(GenerateError::NotCausal { model: name() });
    }
    if !(1..=GENERATED_MAX).contains(&length) {
        return Err(GenerateError::Length { length });
    }
    if !temperature.is_finite() || temperature < 0.0 {
        return Err(GenerateError::Temperature { temperature });
    }
    let mut prompt = vocabulary.tokens(&prompt)?;
    if prompt.is_empty() {
        return Err(GenerateError::NoPrompt);
    }
    // What the model does not see need not travel.
    prompt.drain(..prompt.len().saturating_sub(architecture.inputs()));
    let request = GenerateRequest {
        prompt,
        length,
        temperature,
        seed,
        ..GenerateRequest::default()
    };
    Ok((vocabulary, request))
}
