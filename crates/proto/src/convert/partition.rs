//! Partitions.

use federation::job::{PartitionDraft, SchemeDraft};

use super::InvalidMessage;
use crate::v1;
use crate::v1::partition::{Dirichlet, Iid, Kind, LabelsPerClient, QuantitySkew};

impl From<PartitionDraft> for v1::Partition {
    fn from(draft: PartitionDraft) -> Self {
        let kind = match draft.scheme {
            SchemeDraft::Iid => Kind::Iid(Iid {}),
            SchemeDraft::Dirichlet { alpha } => Kind::Dirichlet(Dirichlet { alpha }),
            SchemeDraft::LabelsPerClient { labels } => {
                Kind::LabelsPerClient(LabelsPerClient { labels })
            }
            SchemeDraft::QuantitySkew { alpha } => Kind::QuantitySkew(QuantitySkew { alpha }),
        };
        Self {
            kind: Some(kind),
            clients: draft.clients,
            seed: draft.seed,
        }
    }
}

impl TryFrom<&v1::Partition> for PartitionDraft {
    type Error = InvalidMessage;

    fn try_from(message: &v1::Partition) -> Result<Self, InvalidMessage> {
        let scheme = match &message.kind {
            Some(Kind::Iid(Iid {})) => SchemeDraft::Iid,
            Some(Kind::Dirichlet(dirichlet)) => SchemeDraft::Dirichlet {
                alpha: dirichlet.alpha,
            },
            Some(Kind::LabelsPerClient(few)) => SchemeDraft::LabelsPerClient { labels: few.labels },
            Some(Kind::QuantitySkew(skew)) => SchemeDraft::QuantitySkew { alpha: skew.alpha },
            None => {
                return Err(InvalidMessage::new(
                    "dataset.partition.kind",
                    "must be one of iid, dirichlet, labels_per_client, quantity_skew",
                ));
            }
        };
        Ok(Self {
            scheme,
            clients: message.clients,
            seed: message.seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_travels_there_and_back() {
        let schemes = [
            SchemeDraft::Iid,
            SchemeDraft::Dirichlet { alpha: 0.5 },
            SchemeDraft::LabelsPerClient { labels: 2 },
            SchemeDraft::QuantitySkew { alpha: 1.5 },
        ];
        for scheme in schemes {
            for seed in [None, Some(0), Some(u64::MAX)] {
                let clients = 8;
                let draft = PartitionDraft {
                    scheme,
                    clients,
                    seed,
                };
                let message = v1::Partition::from(draft);
                assert_eq!(PartitionDraft::try_from(&message), Ok(draft));
            }
        }
    }

    #[test]
    fn a_partition_of_no_kind_is_refused_with_the_kinds() {
        let error = PartitionDraft::try_from(&v1::Partition::default()).unwrap_err();
        assert_eq!(error.field, "dataset.partition.kind");
        assert!(error.problem.contains("dirichlet"), "{error}");
    }
}
