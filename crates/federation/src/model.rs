//! Model shapes: which layers fit each other, and which tensors they own.
//!
//! Shapes are rules, so a job can be validated without an engine. Tensors are named and ordered
//! here once, for the engine, the checkpoints and the aggregation alike.

mod layer;
mod preset;
mod refusal;
mod shape;
mod walk;

pub use layer::Layer;
pub use preset::{Activation, ModelSpec};
pub use refusal::ModelError;
pub use shape::{ROW_VALUES_MAX, Shape};

use serde::{Deserialize, Serialize};
use walk::walk;

/// Most layers of one architecture: tensor names carry three digits, so that the order of names
/// is the order of layers.
pub const LAYERS_MAX: usize = 1000;

/// Most parameters of one model: 2³¹, an 8 GiB file of f32. Refusing more keeps every size in
/// bytes far from overflow.
pub const PARAMETERS_MAX: usize = 1 << 31;

/// A list of layers that fit each other, ending in logits or in values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Layer>", into = "Vec<Layer>")]
pub struct Architecture {
    layers: Vec<Layer>,
    inputs: usize,
    outputs: usize,
    num_parameters: usize,
    loss: Loss,
}

/// A named tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// `layers.000.weight`, `layers.000.bias` and so on.
    pub name: String,
    /// Row-major; a linear layer's weight is `[outputs, inputs]`, a convolution's
    /// `[outputs, inputs, kernel, kernel]`.
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

/// What the rows of a model are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// One label a row, by cross-entropy.
    Classification,
    /// The next token at every position, by the mean of their cross-entropies. A row's tokens are
    /// the next ones of all its positions but the last, and its label is the last one's.
    NextToken,
    /// Numbers, by the mean of the squared differences.
    Regression,
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
        let inputs = entry_width(&layers).ok_or(ModelError::NoParameters)?;
        let shapes = walk(&layers, inputs)?;
        let num_parameters = count_parameters(&layers)?;
        let body = match layers.last() {
            Some(Layer::Regression) => &layers[..layers.len() - 1],
            _ => &layers,
        };
        if !matches!(body.last(), Some(Layer::Linear { .. } | Layer::TiedHead)) {
            return Err(ModelError::LastNotLinear);
        }
        let (outputs, loss) = match (shapes.last(), layers.last()) {
            (Some(Shape::Features(width)), Some(Layer::Regression)) => (*width, Loss::Regression),
            (Some(Shape::Sequence { width, .. }), _) => (*width, Loss::NextToken),
            (Some(shape), _) => (shape.len(), Loss::Classification),
            (None, _) => return Err(ModelError::NoParameters),
        };
        check_vocabulary(&layers, outputs, loss)?;
        Ok(Self {
            layers,
            inputs,
            outputs,
            num_parameters,
            loss,
        })
    }

    /// The layers, in the order of the forward pass.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What each layer yields.
    #[must_use]
    pub fn shapes(&self) -> Vec<Shape> {
        walk(&self.layers, self.inputs).unwrap_or_default()
    }

    /// Width of one input row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of classes, of tokens or of values.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// What its rows are held against.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Checks that the model takes rows of `features` numbers and tells `classes` apart.
    ///
    /// # Errors
    ///
    /// [`ModelError::Context`], [`ModelError::Features`] and [`ModelError::Classes`].
    pub fn check_widths(&self, features: usize, classes: usize) -> Result<(), ModelError> {
        let (takes, given) = (self.inputs, features);
        match self.layers.first() {
            _ if takes == given => {}
            Some(Layer::Embedding { .. }) => return Err(ModelError::Context { takes, given }),
            _ => return Err(ModelError::Features { takes, given }),
        }
        if self.loss != Loss::Regression && self.outputs != classes {
            return Err(ModelError::Classes {
                yields: self.outputs,
                given: classes,
            });
        }
        Ok(())
    }

    /// Checks that what the model yields is what rows hold: one number each, or a label.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoTargets`], [`ModelError::NoLabels`] and [`ModelError::Values`].
    pub fn check_targets(&self, are_numbers: bool) -> Result<(), ModelError> {
        match (self.loss == Loss::Regression, are_numbers) {
            (true, false) => Err(ModelError::NoTargets),
            (false, true) => Err(ModelError::NoLabels),
            (true, true) if self.outputs != 1 => Err(ModelError::Values {
                yields: self.outputs,
            }),
            _ => Ok(()),
        }
    }

    /// Checks that the model reads rows of `count` different tokens.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoTokens`] and [`ModelError::Tokens`].
    pub fn check_tokens(&self, count: usize) -> Result<(), ModelError> {
        match self.layers.first() {
            Some(Layer::Embedding { vocabulary, .. }) if *vocabulary == count => Ok(()),
            Some(Layer::Embedding { vocabulary, .. }) => Err(ModelError::Tokens {
                knows: *vocabulary,
                given: count,
            }),
            _ => Err(ModelError::NoTokens),
        }
    }

    /// The model's tensors in layout order, which is the order of their names.
    ///
    /// The parameter vector of the model is their concatenation: `[n_params]`, row-major each.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for (part, shape) in layer.tensors() {
                let name = format!("layers.{index:03}.{part}");
                tensors.push(Tensor { name, shape });
            }
        }
        tensors
    }

    /// Length of the parameter vector.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        self.num_parameters
    }
}

/// The width of a row, from the first layer that says it. Only activations may stand before it.
fn entry_width(layers: &[Layer]) -> Option<usize> {
    let says = |layer: &Layer| !matches!(layer, Layer::Relu | Layer::Gelu | Layer::Fork);
    layers.iter().find(|layer| says(layer))?.entry_width()
}

fn count_parameters(layers: &[Layer]) -> Result<usize, ModelError> {
    let tensors = layers.iter().flat_map(|layer| layer.tensors());
    let parameters = tensors
        .map(|(_, shape)| shape.into_iter().fold(1, usize::saturating_mul))
        .fold(0, usize::saturating_add);
    if parameters > PARAMETERS_MAX {
        return Err(ModelError::TooLarge { parameters });
    }
    Ok(parameters)
}

/// A next token is one of the embedding's.
fn check_vocabulary(layers: &[Layer], outputs: usize, loss: Loss) -> Result<(), ModelError> {
    let misplaced = |rule| ModelError::Place {
        index: layers.len() - 1,
        layer: layers[layers.len() - 1].name(),
        rule,
    };
    match (layers.first(), loss) {
        (Some(Layer::Embedding { vocabulary, .. }), Loss::NextToken) if *vocabulary == outputs => {
            Ok(())
        }
        (Some(Layer::Embedding { .. }), Loss::NextToken) => Err(misplaced(
            "must yield one logit for each token of the embedding's vocabulary",
        )),
        (_, Loss::NextToken) => Err(misplaced(
            "yields a sequence, which takes an embedding as the first layer; put a flatten before it",
        )),
        _ => Ok(()),
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

#[cfg(test)]
mod tests;
