//! Why a list of layers is not a model.

use super::shape::{ROW_VALUES_MAX, Shape};
use super::{LAYERS_MAX, PARAMETERS_MAX};
use thiserror::Error;

/// Why a list of layers is not a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// There must be something to train.
    #[error("the model has no linear layer; at least one is needed")]
    NoParameters,
    /// Names would not sort any more.
    #[error("the model has {count} layers; at most {LAYERS_MAX} are accepted")]
    TooManyLayers {
        /// How many there are.
        count: usize,
    },
    /// A width of zero, or one that does not fit.
    #[error(
        "layer {index} is {inputs} wide at its input and {outputs} at its output; both must be at least 1"
    )]
    EmptyLayer {
        /// Which layer, from 0.
        index: usize,
        /// Its input width.
        inputs: usize,
        /// Its output width.
        outputs: usize,
    },
    /// A number that must be counted from 1.
    #[error("layer {index} ({layer}) has {number} 0; must be at least 1")]
    Zero {
        /// Which layer, from 0.
        index: usize,
        /// What it is called.
        layer: &'static str,
        /// Which of its numbers.
        number: &'static str,
    },
    /// Neighbours disagree on a width.
    #[error("layer {index} takes {inputs} inputs but the layers before it yield {given}")]
    Mismatch {
        /// Which layer, from 0.
        index: usize,
        /// What it takes.
        inputs: usize,
        /// What it gets.
        given: usize,
    },
    /// Neighbours disagree on a shape.
    #[error("layer {index} ({layer}) takes {takes}, but gets {given}")]
    Shape {
        /// Which layer, from 0.
        index: usize,
        /// What it is called.
        layer: &'static str,
        /// What it takes.
        takes: String,
        /// What it gets.
        given: Shape,
    },
    /// Numbers of a layer that do not go together, whatever it gets.
    #[error("layer {index} ({layer}) takes {takes}")]
    Numbers {
        /// Which layer, from 0.
        index: usize,
        /// What it is called.
        layer: &'static str,
        /// What it takes.
        takes: String,
    },
    /// A row that is larger than we hold.
    #[error(
        "layer {index} ({layer}) yields {shape}, {} numbers; a row may have {ROW_VALUES_MAX}", .shape.len()
    )]
    LargeRow {
        /// Which layer, from 0.
        index: usize,
        /// What it is called.
        layer: &'static str,
        /// What it yields.
        shape: Shape,
    },
    /// A layer where it cannot stand.
    #[error("layer {index} ({layer}) {rule}")]
    Place {
        /// Which layer, from 0.
        index: usize,
        /// What it is called.
        layer: &'static str,
        /// Where it can.
        rule: &'static str,
    },
    /// A row that is no image by itself.
    #[error(
        "a row of {features} features is no square image of one channel or three; say what it is with `image: [channels, height, width]`"
    )]
    NotSquare {
        /// Numbers of a row.
        features: usize,
    },
    /// Rows of another width.
    #[error("the model takes rows of {takes} features, but there are {given}")]
    Features {
        /// What it takes.
        takes: usize,
        /// What there is.
        given: usize,
    },
    /// Sequences of another length.
    #[error(
        "the rows have {given} tokens, and the model's context is {takes}; choose a model whose \
         context is {given}, or import the text with `--context {takes}`"
    )]
    Context {
        /// The model's context.
        takes: usize,
        /// How long the sequences are.
        given: usize,
    },
    /// Labels of another number.
    #[error("the model yields {yields} logits, but there are {given} classes")]
    Classes {
        /// What it yields.
        yields: usize,
        /// What there is.
        given: usize,
    },
    /// Rows of tokens for a model of other numbers.
    #[error(
        "the rows are tokens, which the model does not read; its first layer must be an embedding, \
         as in a model of kind gpt"
    )]
    NoTokens,
    /// Tokens of another number.
    #[error("the model knows {knows} tokens, but there are {given}")]
    Tokens {
        /// How many it knows.
        knows: usize,
        /// How many there are.
        given: usize,
    },
    /// Labels for a model that yields values.
    #[error(
        "the model is a regression, and the rows have labels; leave its last layer, `regression`, \
         out, or import the data set with --target in place of --label"
    )]
    NoTargets,
    /// Numbers for a model that yields logits.
    #[error(
        "the rows have a number as their target, and the model is no regression; its last layer \
         must be `regression`, in a model of kind layers"
    )]
    NoLabels,
    /// Values of another number.
    #[error("the model yields {yields} values, but each row has 1 target")]
    Values {
        /// How many it yields.
        yields: usize,
    },
    /// The last layer must yield logits.
    #[error("the last layer must be linear, so that it yields logits")]
    LastNotLinear,
    /// More than are trained.
    #[error(
        "the model has at least {parameters} parameters, which take {} GiB; at most {PARAMETERS_MAX} are trained; make its layers narrower",
        .parameters.saturating_mul(4).div_ceil(1 << 30)
    )]
    TooLarge {
        /// How many at least: as many as can be counted, for the smallest rows that there may be.
        parameters: usize,
    },
}

/// What a layer takes instead.
#[derive(Debug)]
pub(super) enum Misfit {
    /// Instead of the row that it gets.
    Given(String),
    /// Instead of the numbers that it has itself.
    Own(String),
}
