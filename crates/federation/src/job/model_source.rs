//! Where the model of a job comes from.

use serde::{Deserialize, Serialize};

use super::scalars::{maybe_count, maybe_counts};
use crate::model::{Activation, ModelSpec};

/// What a job trains. One map in the file; its `kind` is `softmax_regression`, `mlp` or
/// `published`.
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
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with the key `kind`")]
struct File {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_counts")]
    hidden: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activation: Option<Activation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    version: Option<u32>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    SoftmaxRegression,
    Mlp,
    Published,
}

impl TryFrom<File> for ModelSource {
    type Error = &'static str;

    fn try_from(file: File) -> Result<Self, &'static str> {
        let File {
            kind,
            hidden,
            activation,
            name,
            version,
        } = file;
        match (kind, hidden, activation, name, version) {
            (Kind::SoftmaxRegression, None, None, None, None) => {
                Ok(Self::Spec(ModelSpec::SoftmaxRegression))
            }
            (Kind::Mlp, Some(hidden), Some(activation), None, None) => {
                Ok(Self::Spec(ModelSpec::Mlp { hidden, activation }))
            }
            (Kind::Published, None, None, Some(name), version) => {
                Ok(Self::Published { name, version })
            }
            (kind, ..) => Err(kind.accepts()),
        }
    }
}

impl Kind {
    fn accepts(self) -> &'static str {
        match self {
            Self::SoftmaxRegression => {
                "a model of kind `softmax_regression` takes nothing but its `kind`"
            }
            Self::Mlp => "a model of kind `mlp` takes `hidden` and `activation`",
            Self::Published => "a model of kind `published` takes `name`, and may take `version`",
        }
    }
}

impl From<ModelSource> for File {
    fn from(source: ModelSource) -> Self {
        let empty = Self {
            kind: Kind::SoftmaxRegression,
            hidden: None,
            activation: None,
            name: None,
            version: None,
        };
        match source {
            ModelSource::Spec(ModelSpec::SoftmaxRegression) => empty,
            ModelSource::Spec(ModelSpec::Mlp { hidden, activation }) => Self {
                kind: Kind::Mlp,
                hidden: Some(hidden),
                activation: Some(activation),
                ..empty
            },
            ModelSource::Published { name, version } => Self {
                kind: Kind::Published,
                name: Some(name),
                version,
                ..empty
            },
        }
    }
}
