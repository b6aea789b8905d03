//! Labelled rows, checked once at the border.

use federation::model::Architecture;
use thiserror::Error;

/// Rows a model can be trained on or measured by.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    features: &'a [f32],
    labels: &'a [u32],
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
        if let Some(row) = labels.iter().position(|label| *label as usize >= classes) {
            return Err(ExamplesError::Label {
                row,
                label: labels[row],
                classes,
            });
        }
        Ok(Self {
            features,
            labels,
            inputs,
            classes,
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.labels.len()
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

    pub(super) fn labels(&self) -> &'a [u32] {
        self.labels
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
