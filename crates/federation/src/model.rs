//! Model shapes: which layers fit each other, and which tensors they own.
//!
//! Shapes are rules, so a job can be validated without an engine. Tensors are named and ordered
//! here once, for the engine, the checkpoints and the aggregation alike.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most layers of one architecture: tensor names carry three digits, so that the order of names
/// is the order of layers.
pub const LAYERS_MAX: usize = 1000;

/// Most parameters of one model: 2³¹, an 8 GiB file of f32. Refusing more keeps every size in
/// bytes far from overflow.
pub const PARAMETERS_MAX: usize = 1 << 31;

/// One step of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Layer {
    /// `y = x Wᵀ + b`.
    Linear {
        /// Width of `x`.
        inputs: usize,
        /// Width of `y`.
        outputs: usize,
    },
    /// `y = max(x, 0)`.
    Relu,
    /// `y = x Φ(x)`, with Φ by the tanh approximation (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    Gelu,
}

/// A list of layers that fit each other, ending in one logit per class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Layer>", into = "Vec<Layer>")]
pub struct Architecture {
    layers: Vec<Layer>,
    inputs: usize,
    outputs: usize,
}

/// A named tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// `layers.000.weight`, `layers.000.bias` and so on.
    pub name: String,
    /// Row-major; a linear layer's weight is `[outputs, inputs]`.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// How many numbers the tensor holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no number at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

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
    /// Neighbours disagree.
    #[error("layer {index} takes {inputs} inputs but the layers before it yield {given}")]
    Mismatch {
        /// Which layer, from 0.
        index: usize,
        /// What it takes.
        inputs: usize,
        /// What it gets.
        given: usize,
    },
    /// The last layer must yield logits.
    #[error("the last layer must be linear, so that it yields logits")]
    LastNotLinear,
    /// More than we count.
    #[error("the model has more than {PARAMETERS_MAX} parameters; make its layers narrower")]
    TooLarge,
}

impl Architecture {
    /// Checks that `layers` fit each other.
    ///
    /// # Errors
    ///
    /// [`ModelError`] names the first layer that does not fit.
    pub fn new(layers: Vec<Layer>) -> Result<Self, ModelError> {
        if layers.len() > LAYERS_MAX {
            return Err(ModelError::TooManyLayers {
                count: layers.len(),
            });
        }
        let mut width: Option<(usize, usize)> = None;
        let mut parameters = 0_usize;
        for (index, layer) in layers.iter().enumerate() {
            let Layer::Linear { inputs, outputs } = *layer else {
                continue;
            };
            if inputs == 0 || outputs == 0 {
                return Err(ModelError::EmptyLayer {
                    index,
                    inputs,
                    outputs,
                });
            }
            if let Some((_, given)) = width
                && given != inputs
            {
                return Err(ModelError::Mismatch {
                    index,
                    inputs,
                    given,
                });
            }
            width = Some((width.map_or(inputs, |(first, _)| first), outputs));
            parameters = inputs
                .checked_mul(outputs)
                .and_then(|weights| weights.checked_add(outputs))
                .and_then(|own| own.checked_add(parameters))
                .filter(|total| *total <= PARAMETERS_MAX)
                .ok_or(ModelError::TooLarge)?;
        }
        let (inputs, outputs) = width.ok_or(ModelError::NoParameters)?;
        if !matches!(layers.last(), Some(Layer::Linear { .. })) {
            return Err(ModelError::LastNotLinear);
        }
        Ok(Self {
            layers,
            inputs,
            outputs,
        })
    }

    /// The layers, in the order of the forward pass.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Width of one input row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of classes.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The model's tensors in layout order, which is the order of their names.
    ///
    /// The parameter vector of the model is their concatenation: `[n_params]`, row-major each.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if let Layer::Linear { inputs, outputs } = *layer {
                let name = |part: &str| format!("layers.{index:03}.{part}");
                tensors.push(Tensor {
                    name: name("bias"),
                    shape: vec![outputs],
                });
                tensors.push(Tensor {
                    name: name("weight"),
                    shape: vec![outputs, inputs],
                });
            }
        }
        tensors
    }

    /// Length of the parameter vector.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        self.tensors().iter().map(Tensor::len).sum()
    }
}

impl TryFrom<Vec<Layer>> for Architecture {
    type Error = ModelError;

    fn try_from(layers: Vec<Layer>) -> Result<Self, ModelError> {
        Self::new(layers)
    }
}

impl From<Architecture> for Vec<Layer> {
    fn from(architecture: Architecture) -> Self {
        architecture.layers
    }
}

/// The non-linearity between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// [`Layer::Relu`].
    Relu,
    /// [`Layer::Gelu`].
    Gelu,
}

/// A model as a job names it, before the data set says how wide it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSpec {
    /// One linear layer: multinomial logistic regression.
    SoftmaxRegression,
    /// Linear layers with an activation between them.
    Mlp {
        /// Widths of the hidden layers, from the input on.
        hidden: Vec<usize>,
        /// What stands between the layers.
        activation: Activation,
    },
}

impl ModelSpec {
    /// The model for rows of `features` numbers and `classes` labels.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a width is zero or the model is too large.
    pub fn architecture(
        &self,
        features: usize,
        classes: usize,
    ) -> Result<Architecture, ModelError> {
        let (hidden, activation) = match self {
            Self::SoftmaxRegression => (&[][..], Layer::Relu),
            Self::Mlp {
                hidden,
                activation: Activation::Relu,
            } => (&hidden[..], Layer::Relu),
            Self::Mlp {
                hidden,
                activation: Activation::Gelu,
            } => (&hidden[..], Layer::Gelu),
        };
        let mut layers = Vec::new();
        let mut inputs = features;
        for &outputs in hidden {
            layers.push(Layer::Linear { inputs, outputs });
            layers.push(activation);
            inputs = outputs;
        }
        layers.push(Layer::Linear {
            inputs,
            outputs: classes,
        });
        Architecture::new(layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mlp(hidden: &[usize]) -> ModelSpec {
        ModelSpec::Mlp {
            hidden: hidden.to_vec(),
            activation: Activation::Relu,
        }
    }

    #[test]
    fn an_mlp_counts_the_parameters_of_mcmahans_2nn() {
        // Source: McMahan et al. 2017, section 3: the MNIST 2NN has 199,210 parameters.
        let model = mlp(&[200, 200]).architecture(784, 10).unwrap();
        assert_eq!(model.num_parameters(), 199_210);
    }

    #[test]
    fn tensors_are_sorted_by_name() {
        let model = mlp(&[8; 12]).architecture(4, 2).unwrap();
        let names: Vec<_> = model
            .tensors()
            .into_iter()
            .map(|tensor| tensor.name)
            .collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
    }

    #[test]
    fn layers_that_disagree_are_named() {
        let layers = vec![
            Layer::Linear {
                inputs: 4,
                outputs: 8,
            },
            Layer::Relu,
            Layer::Linear {
                inputs: 9,
                outputs: 2,
            },
        ];
        let error = Architecture::new(layers).unwrap_err();
        assert_eq!(
            error.to_string(),
            "layer 2 takes 9 inputs but the layers before it yield 8"
        );
    }

    #[test]
    fn a_model_larger_than_we_count_is_refused() {
        assert_eq!(
            mlp(&[1 << 31]).architecture(64, 10),
            Err(ModelError::TooLarge)
        );
        assert_eq!(
            mlp(&[usize::MAX]).architecture(64, 10),
            Err(ModelError::TooLarge)
        );
    }

    #[test]
    fn a_hidden_layer_of_zero_is_refused() {
        assert!(matches!(
            mlp(&[0]).architecture(64, 10),
            Err(ModelError::EmptyLayer { index: 0, .. })
        ));
    }
}
