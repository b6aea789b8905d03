//! How updates become the next model.

use serde::{Deserialize, Serialize};

/// How updates become the next model. In the file a map; its `kind` is `fedavg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "File", into = "File")]
pub enum Strategy {
    /// The weighted mean of the updates is added to the model.
    ///
    /// # Source
    ///
    /// Algorithm 1 of McMahan et al. 2017, <https://arxiv.org/abs/1602.05629>.
    FedAvg {
        /// What an update weighs.
        weighting: Weighting,
    },
}

impl Default for Strategy {
    fn default() -> Self {
        Self::FedAvg {
            weighting: Weighting::default(),
        }
    }
}

/// What an update weighs in the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// As many as the examples behind it.
    #[default]
    Examples,
    /// The same as every other.
    Uniform,
}

/// The map in the file. Flat, because serde loses the place of an error inside a tagged enum.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with the key `kind`")]
struct File {
    kind: Kind,
    #[serde(default)]
    weighting: Weighting,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "fedavg")]
    FedAvg,
}

impl From<File> for Strategy {
    fn from(file: File) -> Self {
        match file.kind {
            Kind::FedAvg => Self::FedAvg {
                weighting: file.weighting,
            },
        }
    }
}

impl From<Strategy> for File {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::FedAvg { weighting } => Self {
                kind: Kind::FedAvg,
                weighting,
            },
        }
    }
}
