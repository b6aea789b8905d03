//! Models as a job names them, before the data set says how wide they are.

use super::{Architecture, Layer, ModelError};
use serde::{Deserialize, Serialize};

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
    /// Blocks of a convolution that keeps the image's size, a rectifier and a pool that halves it,
    /// then linear layers with rectifiers between them.
    Cnn {
        /// Channels that each convolution yields.
        channels: Vec<usize>,
        /// Height and width of the convolutions' windows; odd.
        kernel: usize,
        /// Widths of the hidden layers after the blocks.
        hidden: Vec<usize>,
        /// Channels, height and width of a row. Where it is left out, rows are square, with one
        /// channel or three.
        image: Option<[usize; 3]>,
    },
    /// A decoder of as many tokens as a row has features, from as many as there are classes:
    /// blocks of causal attention and of two linear layers with a GELU between them, each behind a
    /// layer norm and beside a residual, and a head that is tied to the embedding (Radford et al.
    /// 2019, section 2.3).
    Gpt {
        /// How many blocks.
        blocks: usize,
        /// Length of a token's vector.
        width: usize,
        /// Heads of the attention; they divide the width.
        heads: usize,
    },
    /// These layers, one after the other.
    Layers {
        /// In the order of the forward pass.
        layers: Vec<Layer>,
    },
}

impl ModelSpec {
    /// Channels of a CNN where nothing else is said.
    pub const CNN_CHANNELS: [usize; 2] = [32, 64];
    /// Height and width of its windows.
    pub const CNN_KERNEL: usize = 3;
    /// Widths of its hidden layers.
    pub const CNN_HIDDEN: [usize; 1] = [128];
    /// Blocks of a GPT where nothing else is said.
    pub const GPT_BLOCKS: usize = 4;
    /// Length of its vectors.
    pub const GPT_WIDTH: usize = 128;
    /// Its heads.
    pub const GPT_HEADS: usize = 4;

    /// The model for rows of `features` numbers and `classes` labels.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a width is zero, the model is too large, or it does not fit the rows.
    pub fn architecture(
        &self,
        features: usize,
        classes: usize,
    ) -> Result<Architecture, ModelError> {
        let mut layers = Vec::new();
        match self {
            Self::SoftmaxRegression => dense(features, &[], Layer::Relu, classes, &mut layers),
            Self::Mlp { hidden, activation } => {
                let activation = match activation {
                    Activation::Relu => Layer::Relu,
                    Activation::Gelu => Layer::Gelu,
                };
                dense(features, hidden, activation, classes, &mut layers);
            }
            Self::Cnn {
                channels,
                kernel,
                hidden,
                image,
            } => {
                let image = match image {
                    Some(image) => *image,
                    None => square(features).ok_or(ModelError::NotSquare { features })?,
                };
                let flat = convolutions(image, channels, *kernel, &mut layers);
                dense(flat, hidden, Layer::Relu, classes, &mut layers);
            }
            Self::Gpt {
                blocks,
                width,
                heads,
            } => decoder((*blocks, *width, *heads), features, classes, &mut layers),
            Self::Layers { layers: own } => layers.clone_from(own),
        }
        let architecture = Architecture::new(layers)?;
        architecture.check_widths(features, classes)?;
        Ok(architecture)
    }
}

/// Linear layers with an activation between them.
fn dense(
    features: usize,
    hidden: &[usize],
    activation: Layer,
    classes: usize,
    layers: &mut Vec<Layer>,
) {
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
}

/// The square image that a row of `features` numbers is, with one channel or three.
fn square(features: usize) -> Option<[usize; 3]> {
    [1, 3].into_iter().find_map(|channels| {
        let places = features / channels;
        let side = places.isqrt();
        (side * side * channels == features).then_some([channels, side, side])
    })
}

/// The convolutional blocks, and how many numbers they leave.
fn convolutions(
    [mut inputs, mut height, mut width]: [usize; 3],
    channels: &[usize],
    kernel: usize,
    layers: &mut Vec<Layer>,
) -> usize {
    layers.push(Layer::Image {
        channels: inputs,
        height,
        width,
    });
    for &outputs in channels {
        layers.push(Layer::Convolution {
            inputs,
            outputs,
            kernel,
            stride: 1,
            padding: kernel / 2,
        });
        layers.push(Layer::Relu);
        layers.push(Layer::MaxPool {
            kernel: 2,
            stride: 2,
        });
        (inputs, height, width) = (outputs, height / 2, width / 2);
    }
    layers.push(Layer::Flatten);
    inputs.saturating_mul(height).saturating_mul(width)
}

/// The layers of a decoder.
fn decoder(
    (blocks, width, heads): (usize, usize, usize),
    context: usize,
    vocabulary: usize,
    layers: &mut Vec<Layer>,
) {
    let linear = |inputs: usize, outputs: usize| Layer::Linear { inputs, outputs };
    layers.push(Layer::Embedding {
        vocabulary,
        width,
        context,
    });
    // One more than fits is enough to be refused by their number.
    for _ in 0..blocks.min(super::LAYERS_MAX) {
        layers.extend([
            Layer::Fork,
            Layer::LayerNorm { width },
            linear(width, width.saturating_mul(3)),
            Layer::Attention { width, heads },
            linear(width, width),
            Layer::Join,
            Layer::Fork,
            Layer::LayerNorm { width },
            linear(width, width.saturating_mul(4)),
            Layer::Gelu,
            linear(width.saturating_mul(4), width),
            Layer::Join,
        ]);
    }
    layers.extend([Layer::LayerNorm { width }, Layer::TiedHead]);
}
