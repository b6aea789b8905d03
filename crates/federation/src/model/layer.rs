//! The layers there are: what each takes, yields and owns.

use super::refusal::Misfit;
use super::shape::Shape;
use serde::{Deserialize, Serialize};

/// Most numbers that a convolution lays out to multiply one row: 2²⁶, 256 MiB.
const PATCH_VALUES_MAX: usize = 1 << 26;

/// One step of a forward pass.
///
/// A list of them is flat: a residual block is what stands between a [`Layer::Fork`] and its
/// [`Layer::Join`], so that layers keep one index each, tensors one name each, and no message from
/// outside can nest deeper than a reader's stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// `y = x Wᵀ + b`, on features or on each position of a sequence.
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
    /// Reads features as an image, channel by channel, each row by row.
    Image {
        /// Numbers per place.
        channels: usize,
        /// Rows of places.
        height: usize,
        /// Columns of places.
        width: usize,
    },
    /// Each output is a weighted sum over a square window of an image, and a bias.
    Convolution {
        /// Channels of the image.
        inputs: usize,
        /// Channels of what it yields.
        outputs: usize,
        /// Height and width of the window.
        kernel: usize,
        /// Places from one window to the next.
        #[serde(default = "one")]
        stride: usize,
        /// Zeros around the image, on each side.
        #[serde(default)]
        padding: usize,
    },
    /// The largest number of each square window, channel by channel.
    MaxPool {
        /// Height and width of the window.
        kernel: usize,
        /// Places from one window to the next.
        stride: usize,
    },
    /// The mean of each square window, channel by channel.
    AveragePool {
        /// Height and width of the window.
        kernel: usize,
        /// Places from one window to the next.
        stride: usize,
    },
    /// Reads an image or a sequence as features, in the order in which its shape names them.
    Flatten,
    /// Reads features as tokens, each a whole number below `vocabulary`, and yields for each the
    /// sum of the token's vector and its position's. Only the first layer may be one.
    Embedding {
        /// How many tokens there are.
        vocabulary: usize,
        /// Length of a vector.
        width: usize,
        /// How many tokens a row has.
        context: usize,
    },
    /// `y = (x − mean) / √(variance + 10⁻⁵) · w + b`, over features or each position.
    LayerNorm {
        /// Width of `x`.
        width: usize,
    },
    /// Causal self-attention over a sequence of queries, keys and values, which stand side by side
    /// and are `width` wide each; what it yields is `width` wide. It owns no parameters: linear
    /// layers before and after it project.
    Attention {
        /// Width of what it yields.
        width: usize,
        /// Heads; each is `width / heads` wide.
        heads: usize,
    },
    /// Keeps what comes in, and passes it on.
    Fork,
    /// Adds what the last fork without a join kept.
    Join,
    /// Logits `y = x Eᵀ` from the embedding's token vectors `E`.
    TiedHead,
    /// What comes in are values, held against numbers by the mean squared error, and not logits,
    /// held against a label by the cross-entropy. Only the last layer may be one.
    Regression,
}

fn one() -> usize {
    1
}

impl Layer {
    /// All layers, as they are called in a file.
    pub const NAMES: [&'static str; 15] = [
        "linear",
        "relu",
        "gelu",
        "image",
        "convolution",
        "max_pool",
        "average_pool",
        "flatten",
        "embedding",
        "layer_norm",
        "attention",
        "fork",
        "join",
        "tied_head",
        "regression",
    ];

    /// As it is called in a file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::Image { .. } => "image",
            Self::Convolution { .. } => "convolution",
            Self::MaxPool { .. } => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::Flatten => "flatten",
            Self::Embedding { .. } => "embedding",
            Self::LayerNorm { .. } => "layer_norm",
            Self::Attention { .. } => "attention",
            Self::Fork => "fork",
            Self::Join => "join",
            Self::TiedHead => "tied_head",
            Self::Regression => "regression",
        }
    }

    /// The width of a row, if the layer says what it is when it comes first.
    pub(super) fn entry_width(self) -> Option<usize> {
        match self {
            Self::Linear { inputs, .. } => Some(inputs),
            Self::LayerNorm { width } => Some(width),
            Self::Embedding { context, .. } => Some(context),
            Self::Image {
                channels,
                height,
                width,
            } => Some(channels.saturating_mul(height).saturating_mul(width)),
            _ => None,
        }
    }

    /// A number of the layer that is 0 and must not be.
    pub(super) fn zero(self) -> Option<&'static str> {
        let numbers: &[(usize, &'static str)] = match self {
            Self::Image {
                channels,
                height,
                width,
            } => &[(channels, "channels"), (height, "height"), (width, "width")],
            Self::Convolution {
                inputs,
                outputs,
                kernel,
                stride,
                ..
            } => &[
                (inputs, "inputs"),
                (outputs, "outputs"),
                (kernel, "kernel"),
                (stride, "stride"),
            ],
            Self::MaxPool { kernel, stride } | Self::AveragePool { kernel, stride } => {
                &[(kernel, "kernel"), (stride, "stride")]
            }
            Self::Embedding {
                vocabulary,
                width,
                context,
            } => &[
                (vocabulary, "vocabulary"),
                (width, "width"),
                (context, "context"),
            ],
            Self::LayerNorm { width } => &[(width, "width")],
            Self::Attention { width, heads } => &[(width, "width"), (heads, "heads")],
            _ => &[],
        };
        let zero = numbers.iter().find(|(number, _)| *number == 0);
        zero.map(|(_, name)| *name)
    }

    /// What becomes of a row of shape `given`, or what the layer takes instead.
    ///
    /// Forks, joins, tied heads and embeddings are checked by what stands around them.
    pub(super) fn yields(self, given: Shape) -> Result<Shape, Misfit> {
        match (self, given) {
            (Self::Linear { inputs, outputs }, Shape::Features(width)) if width == inputs => {
                Ok(Shape::Features(outputs))
            }
            (Self::Linear { inputs, outputs }, Shape::Sequence { positions, width })
                if width == inputs =>
            {
                Ok(Shape::Sequence {
                    positions,
                    width: outputs,
                })
            }
            (Self::Linear { inputs, .. }, _) => Err(Misfit::Given(format!(
                "{inputs} features, or a sequence of positions of {inputs}"
            ))),
            (Self::Relu | Self::Gelu | Self::Fork | Self::Join | Self::Regression, _) => Ok(given),
            (
                Self::Image {
                    channels,
                    height,
                    width,
                },
                _,
            ) => {
                let image = Shape::Image {
                    channels,
                    height,
                    width,
                };
                match given {
                    Shape::Features(features) if features == image.len() => Ok(image),
                    _ => Err(Misfit::Given(format!("{} features", image.len()))),
                }
            }
            (Self::Convolution { .. }, _) => self.convolved(given),
            (Self::MaxPool { kernel, stride } | Self::AveragePool { kernel, stride }, _) => {
                pooled(kernel, stride, given).map_err(Misfit::Given)
            }
            (Self::Flatten, _) => Ok(Shape::Features(given.len())),
            (Self::LayerNorm { width }, Shape::Features(given)) if given == width => {
                Ok(Shape::Features(given))
            }
            (
                Self::LayerNorm { width },
                Shape::Sequence {
                    width: given_width, ..
                },
            ) if given_width == width => Ok(given),
            (Self::LayerNorm { width }, _) => Err(Misfit::Given(format!(
                "{width} features, or a sequence of positions of {width}"
            ))),
            (Self::Attention { width, heads }, _) => attended(width, heads, given),
            (Self::Embedding { width, context, .. }, _) => match given {
                Shape::Features(features) if features == context => Ok(Shape::Sequence {
                    positions: context,
                    width,
                }),
                _ => Err(Misfit::Given(format!("{context} features"))),
            },
            (Self::TiedHead, _) => match given {
                Shape::Sequence { .. } => Ok(given),
                _ => Err(Misfit::Given("a sequence".to_owned())),
            },
        }
    }

    fn convolved(self, given: Shape) -> Result<Shape, Misfit> {
        let Self::Convolution {
            inputs,
            outputs,
            kernel,
            stride,
            padding,
        } = self
        else {
            return Ok(given);
        };
        if padding >= kernel {
            return Err(Misfit::Own(format!(
                "a padding below its kernel of {kernel}, not one of {padding}"
            )));
        }
        let least = kernel.saturating_sub(padding.saturating_mul(2)).max(1);
        let windows = |side: usize| {
            let room = side
                .checked_add(padding.checked_mul(2)?)?
                .checked_sub(kernel)?;
            Some(room / stride + 1)
        };
        let window = kernel.saturating_mul(kernel).saturating_mul(inputs);
        match given {
            Shape::Image {
                channels,
                height,
                width,
            } if channels == inputs => match (windows(height), windows(width)) {
                (Some(height), Some(width))
                    if height.saturating_mul(width).saturating_mul(window) > PATCH_VALUES_MAX =>
                {
                    Err(Misfit::Own(format!(
                        "at most {PATCH_VALUES_MAX} numbers in its windows together, and \
                         {height} × {width} windows hold {window} each"
                    )))
                }
                (Some(height), Some(width)) => Ok(Shape::Image {
                    channels: outputs,
                    height,
                    width,
                }),
                _ => Err(Misfit::Given(format!(
                    "an image of at least {least} × {least} places"
                ))),
            },
            _ => Err(Misfit::Given(format!("an image of {inputs} channels"))),
        }
    }

    /// Its tensors, in the order of their names.
    pub(super) fn tensors(self) -> Vec<(&'static str, Vec<usize>)> {
        match self {
            Self::Linear { inputs, outputs } => {
                vec![("bias", vec![outputs]), ("weight", vec![outputs, inputs])]
            }
            Self::Convolution {
                inputs,
                outputs,
                kernel,
                ..
            } => vec![
                ("bias", vec![outputs]),
                ("weight", vec![outputs, inputs, kernel, kernel]),
            ],
            Self::Embedding {
                vocabulary,
                width,
                context,
            } => vec![
                ("position", vec![context, width]),
                ("weight", vec![vocabulary, width]),
            ],
            Self::LayerNorm { width } => vec![("bias", vec![width]), ("weight", vec![width])],
            _ => vec![],
        }
    }
}

fn pooled(kernel: usize, stride: usize, given: Shape) -> Result<Shape, String> {
    let windows = |side: usize| Some(side.checked_sub(kernel)? / stride + 1);
    let least = || format!("an image of at least {kernel} × {kernel} places");
    let Shape::Image {
        channels,
        height,
        width,
    } = given
    else {
        return Err(least());
    };
    match (windows(height), windows(width)) {
        (Some(height), Some(width)) => Ok(Shape::Image {
            channels,
            height,
            width,
        }),
        _ => Err(least()),
    }
}

fn attended(width: usize, heads: usize, given: Shape) -> Result<Shape, Misfit> {
    if !width.is_multiple_of(heads) {
        return Err(Misfit::Own(format!(
            "a number of heads that divides its width of {width}, not {heads}"
        )));
    }
    match given {
        Shape::Sequence {
            positions,
            width: given,
        } if width.checked_mul(3) == Some(given) => Ok(Shape::Sequence { positions, width }),
        _ => Err(Misfit::Given(format!(
            "a sequence of queries, keys and values of {width} each"
        ))),
    }
}
