//! A partition as written: one flat map, of which some keys belong to some kinds only.

use serde::{Deserialize, Serialize};

use super::scalars::{count, maybe_count, maybe_number};

/// Who gets which rows, as in `{ kind: dirichlet, alpha: 0.5, clients: 8 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub struct PartitionDraft {
    /// By which rule.
    pub scheme: SchemeDraft,
    /// Among how many clients, 1 to 100,000.
    pub clients: u32,
    /// The seed of the deal; the job's own when left out.
    pub seed: Option<u64>,
}

/// The rule by which rows are dealt; see [`Scheme`](crate::partition::Scheme).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SchemeDraft {
    /// Shuffled, in equal numbers.
    Iid,
    /// Labels in unequal parts.
    Dirichlet {
        /// Finite and above 0; the smaller, the more skewed.
        alpha: f64,
    },
    /// Few labels each.
    LabelsPerClient {
        /// At most how many, at least 1.
        labels: u32,
    },
    /// Unequal numbers of rows.
    QuantitySkew {
        /// Finite and above 0; the smaller, the more skewed.
        alpha: f64,
    },
}

/// The map in the file. Flat, because serde cannot both flatten a tagged enum into a struct and
/// refuse unknown keys.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with the keys `kind` and `clients`"
)]
struct File {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_number")]
    alpha: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    labels: Option<u32>,
    #[serde(deserialize_with = "count")]
    clients: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "maybe_count")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Iid,
    Dirichlet,
    LabelsPerClient,
    QuantitySkew,
}

impl TryFrom<File> for PartitionDraft {
    type Error = &'static str;

    fn try_from(file: File) -> Result<Self, &'static str> {
        let scheme = match (file.kind, file.alpha, file.labels) {
            (Kind::Iid, None, None) => SchemeDraft::Iid,
            (Kind::Dirichlet, Some(alpha), None) => SchemeDraft::Dirichlet { alpha },
            (Kind::LabelsPerClient, None, Some(labels)) => SchemeDraft::LabelsPerClient { labels },
            (Kind::QuantitySkew, Some(alpha), None) => SchemeDraft::QuantitySkew { alpha },
            (kind, ..) => return Err(kind.accepts()),
        };
        Ok(Self {
            scheme,
            clients: file.clients,
            seed: file.seed,
        })
    }
}

impl Kind {
    fn accepts(self) -> &'static str {
        match self {
            Self::Iid => "a partition of kind `iid` takes `clients` and may take `seed`",
            Self::Dirichlet => {
                "a partition of kind `dirichlet` takes `alpha` and `clients`, and may take `seed`"
            }
            Self::LabelsPerClient => {
                "a partition of kind `labels_per_client` takes `labels` and `clients`, and may \
                 take `seed`"
            }
            Self::QuantitySkew => {
                "a partition of kind `quantity_skew` takes `alpha` and `clients`, and may take \
                 `seed`"
            }
        }
    }
}

impl From<PartitionDraft> for File {
    fn from(draft: PartitionDraft) -> Self {
        let (kind, alpha, labels) = match draft.scheme {
            SchemeDraft::Iid => (Kind::Iid, None, None),
            SchemeDraft::Dirichlet { alpha } => (Kind::Dirichlet, Some(alpha), None),
            SchemeDraft::LabelsPerClient { labels } => (Kind::LabelsPerClient, None, Some(labels)),
            SchemeDraft::QuantitySkew { alpha } => (Kind::QuantitySkew, Some(alpha), None),
        };
        Self {
            kind,
            alpha,
            labels,
            clients: draft.clients,
            seed: draft.seed,
        }
    }
}
