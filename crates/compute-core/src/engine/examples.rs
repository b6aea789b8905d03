//! Labelled rows, checked once at the border.

use super::trunk::token_index;
use federation::model::{Architecture, Layer, Loss};
use thiserror::Error;

/// Rows a model can be trained on or measured by.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    features: &'a [f32],
    labels: &'a [u32],
    /// Of a regression; else empty.
    targets: &'a [f32],
    inputs: usize,
    classes: usize,
}

/// Why numbers are not examples for a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExamplesError {
    /// The features do not divide into one row per label.
    #[error(
        "{labels} labels need {labels} rows of {inputs} features, but there are {features} numbers"
    )]
    Length {
        /// How many feature values there are.
        features: usize,
        /// How many labels there are.
        labels: usize,
        /// Width of one row.
        inputs: usize,
    },
    /// A label without a logit.
    #[error("row {row} has label {label}, but the model has {classes} classes")]
    Label {
        /// The first such row, from 0.
        row: usize,
        /// Its label.
        label: u32,
        /// Number of classes of the model.
        classes: usize,
    },
    /// A token that the model does not know.
    #[error(transparent)]
    Token(#[from] UnknownToken),
    /// Labels for a model that yields values.
    #[error(
        "the model is a regression, whose values are held against numbers and not against labels"
    )]
    Labels,
    /// Numbers for a model that yields logits.
    #[error("the model yields logits, which are held against labels and not against numbers")]
    Targets,
}

/// A number that is not a token of the model.
#[derive(Debug, Clone, PartialEq, Error)]
#[error(
    "row {row} has {token} at position {position}; the model knows the tokens from 0 to {}", .vocabulary - 1
)]
pub struct UnknownToken {
    /// The first such row, from 0.
    pub row: usize,
    /// Where in the row, from 0.
    pub position: usize,
    /// What stands there.
    pub token: f32,
    /// How many tokens the model knows.
    pub vocabulary: usize,
}

// A token is a number of a file: where it is NaN, no two faults are told apart.
impl Eq for UnknownToken {}

/// Checks that the rows of a model that begins with an embedding hold tokens.
pub(super) fn check_tokens(
    architecture: &Architecture,
    features: &[f32],
) -> Result<(), UnknownToken> {
    let Some(&Layer::Embedding { vocabulary, .. }) = architecture.layers().first() else {
        return Ok(());
    };
    let inputs = architecture.inputs();
    let is_token =
        |token: f32| token >= 0.0 && token.fract() == 0.0 && token_index(token) < vocabulary;
    match features.iter().position(|token| !is_token(*token)) {
        Some(place) => Err(UnknownToken {
            row: place / inputs,
            position: place % inputs,
            token: features[place],
            vocabulary,
        }),
        None => Ok(()),
    }
}

impl<'a> Examples<'a> {
    /// Checks that `features` and `labels` fit each other and `architecture`.
    ///
    /// # Shapes
    ///
    /// - `features`: `[rows, inputs]`, row-major
    /// - `labels`: `[rows]`, each below the model's number of classes
    ///
    /// # Errors
    ///
    /// - [`ExamplesError::Length`] when the lengths disagree.
    /// - [`ExamplesError::Label`] names the first row whose label is too large.
    /// - [`ExamplesError::Token`] names the first number that is not a token of the model.
    /// - [`ExamplesError::Labels`] when the model is a regression.
    pub fn new(
        architecture: &Architecture,
        features: &'a [f32],
        labels: &'a [u32],
    ) -> Result<Self, ExamplesError> {
        let (inputs, classes) = (architecture.inputs(), architecture.outputs());
        if labels.len().checked_mul(inputs) != Some(features.len()) {
            return Err(ExamplesError::Length {
                features: features.len(),
                labels: labels.len(),
                inputs,
            });
        }
        check_tokens(architecture, features)?;
        if architecture.loss() == Loss::Regression {
            return Err(ExamplesError::Labels);
        }
        let is_too_large = |label: &u32| *label as usize >= classes;
        if let Some(row) = labels.iter().position(is_too_large) {
            return Err(ExamplesError::Label {
                row,
                label: labels[row],
                classes,
            });
        }
        Ok(Self {
            features,
            labels,
            targets: &[],
            inputs,
            classes,
        })
    }

    /// Checks that `features` and the numbers that a regression is held against fit each other and
    /// `architecture`.
    ///
    /// # Shapes
    ///
    /// - `features`: `[rows, inputs]`, row-major
    /// - `targets`: `[rows, outputs]`, row-major
    ///
    /// # Errors
    ///
    /// - [`ExamplesError::Targets`] when the model is no regression.
    /// - [`ExamplesError::Length`] when the lengths disagree.
    pub fn with_targets(
        architecture: &Architecture,
        features: &'a [f32],
        targets: &'a [f32],
    ) -> Result<Self, ExamplesError> {
        let (inputs, classes) = (architecture.inputs(), architecture.outputs());
        if architecture.loss() != Loss::Regression {
            return Err(ExamplesError::Targets);
        }
        let rows = targets.len() / classes;
        if rows.checked_mul(inputs) != Some(features.len()) || rows * classes != targets.len() {
            return Err(ExamplesError::Length {
                features: features.len(),
                labels: rows,
                inputs,
            });
        }
        check_tokens(architecture, features)?;
        Ok(Self {
            features,
            labels: &[],
            targets,
            inputs,
            classes,
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.targets.len() {
            0 => self.labels.len(),
            count => count / self.classes,
        }
    }

    /// Width of one row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of classes the labels were checked against.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    pub(super) fn features(&self) -> &'a [f32] {
        self.features
    }

    /// The labels of one row: its own is the last, and before it each position's is the next token.
    pub(super) fn copy_labels(&self, row: usize, labels: &mut [u32]) {
        let (Some(own), Some((last, others))) = (self.labels.get(row), labels.split_last_mut())
        else {
            return;
        };
        *last = *own;
        if others.is_empty() {
            return;
        }
        let tokens = &self.features[row * self.inputs..][..self.inputs];
        for (label, token) in others.iter_mut().zip(&tokens[1..]) {
            *label = u32::try_from(token_index(*token)).unwrap_or(u32::MAX);
        }
    }

    /// What the values of one row are held against.
    pub(super) fn copy_targets(&self, row: usize, targets: &mut [f32]) {
        targets.copy_from_slice(&self.targets[row * targets.len()..][..targets.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use federation::model::ModelSpec;

    fn architecture() -> Architecture {
        ModelSpec::SoftmaxRegression.architecture(2, 3).unwrap()
    }

    #[test]
    fn features_that_do_not_divide_into_rows_are_refused() {
        let error = Examples::new(&architecture(), &[0.0; 5], &[0, 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 labels need 2 rows of 2 features, but there are 5 numbers"
        );
    }

    #[test]
    fn a_label_without_a_class_is_named_by_its_row() {
        let error = Examples::new(&architecture(), &[0.0; 6], &[0, 2, 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 2 has label 3, but the model has 3 classes"
        );
    }
}
