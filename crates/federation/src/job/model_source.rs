//! Where the model of a job comes from.

use serde::{Deserialize, Serialize};

use super::scalars::{maybe_count, maybe_counts};
use crate::model::{Activation, Layer, ModelSpec};

/// What a job trains. One map in the file; its `kind` is `softmax_regression`, `mlp`, `cnn`, `gpt`,
/// `layers` or `published`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub enum ModelSource {
    /// A new model, initialised from the run's seed.
    Spec(ModelSpec),
    /// A model that an earlier run published.
    Published {
        /// Under which name.
        name: String,
        /// Which version, from 1; the newest when left out.
        version: Option<u32>,
    },
}

/// The map in the file. Flat, because serde loses the place of an error inside a tagged enum.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with the key `kind`")]
struct File {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_counts")]
    hidden: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activation: Option<Activation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_counts")]
    channels: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    kernel: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_counts")]
    image: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    blocks: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    width: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    heads: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    version: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    SoftmaxRegression,
    Mlp,
    Cnn,
    Gpt,
    Layers,
    Published,
}

impl TryFrom<File> for ModelSource {
    type Error = &'static str;

    fn try_from(mut file: File) -> Result<Self, &'static str> {
        let kind = file.kind;
        let source = file.take().ok_or(kind.accepts())?;
        // Whatever the kind has no use for is left.
        match file == File::of(kind) {
            true => Ok(source),
            false => Err(kind.accepts()),
        }
    }
}

impl File {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            hidden: None,
            activation: None,
            channels: None,
            kernel: None,
            image: None,
            blocks: None,
            width: None,
            heads: None,
            layers: None,
            name: None,
            version: None,
        }
    }

    /// Takes what the kind has use for out of the map.
    fn take(&mut self) -> Option<ModelSource> {
        let spec = match self.kind {
            Kind::SoftmaxRegression => ModelSpec::SoftmaxRegression,
            Kind::Mlp => ModelSpec::Mlp {
                hidden: self.hidden.take()?,
                activation: self.activation.take()?,
            },
            Kind::Cnn => ModelSpec::Cnn {
                channels: or(&mut self.channels, || ModelSpec::CNN_CHANNELS.to_vec()),
                kernel: or(&mut self.kernel, || ModelSpec::CNN_KERNEL),
                hidden: or(&mut self.hidden, || ModelSpec::CNN_HIDDEN.to_vec()),
                image: match self.image.take() {
                    Some(image) => Some(image.try_into().ok()?),
                    None => None,
                },
            },
            Kind::Gpt => ModelSpec::Gpt {
                blocks: or(&mut self.blocks, || ModelSpec::GPT_BLOCKS),
                width: or(&mut self.width, || ModelSpec::GPT_WIDTH),
                heads: or(&mut self.heads, || ModelSpec::GPT_HEADS),
            },
            Kind::Layers => ModelSpec::Layers {
                layers: self.layers.take()?,
            },
            Kind::Published => {
                return Some(ModelSource::Published {
                    name: self.name.take()?,
                    version: self.version.take(),
                });
            }
        };
        Some(ModelSource::Spec(spec))
    }
}

/// What was written, or the default.
fn or<T>(written: &mut Option<T>, default: impl FnOnce() -> T) -> T {
    written.take().unwrap_or_else(default)
}

impl Kind {
    fn accepts(self) -> &'static str {
        match self {
            Self::SoftmaxRegression => {
                "a model of kind `softmax_regression` takes nothing but its `kind`"
            }
            Self::Mlp => "a model of kind `mlp` takes `hidden` and `activation`",
            Self::Cnn => {
                "a model of kind `cnn` may take `channels`, `kernel`, `hidden` and `image`, which \
                 is a list of channels, height and width"
            }
            Self::Gpt => "a model of kind `gpt` may take `blocks`, `width` and `heads`",
            Self::Layers => "a model of kind `layers` takes `layers`",
            Self::Published => "a model of kind `published` takes `name`, and may take `version`",
        }
    }
}

impl From<ModelSource> for File {
    fn from(source: ModelSource) -> Self {
        match source {
            ModelSource::Spec(ModelSpec::SoftmaxRegression) => Self::of(Kind::SoftmaxRegression),
            ModelSource::Spec(ModelSpec::Mlp { hidden, activation }) => Self {
                hidden: Some(hidden),
                activation: Some(activation),
                ..Self::of(Kind::Mlp)
            },
            ModelSource::Spec(ModelSpec::Cnn {
                channels,
                kernel,
                hidden,
                image,
            }) => Self {
                channels: Some(channels),
                kernel: Some(kernel),
                hidden: Some(hidden),
                image: image.map(Vec::from),
                ..Self::of(Kind::Cnn)
            },
            ModelSource::Spec(ModelSpec::Gpt {
                blocks,
                width,
                heads,
            }) => Self {
                blocks: Some(blocks),
                width: Some(width),
                heads: Some(heads),
                ..Self::of(Kind::Gpt)
            },
            ModelSource::Spec(ModelSpec::Layers { layers }) => Self {
                layers: Some(layers),
                ..Self::of(Kind::Layers)
            },
            ModelSource::Published { name, version } => Self {
                name: Some(name),
                version,
                ..Self::of(Kind::Published)
            },
        }
    }
}
