//! Data sets.

use client::v1;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Dataset {
    name: String,
    digest: String,
    train_rows: u64,
    test_rows: u64,
    features: u32,
    label: String,
    /// Whether the label is a number that a regression learns.
    has_targets: bool,
    classes: Vec<String>,
    class_rows: Vec<u64>,
    scaling: &'static str,
    /// The characters of a text.
    vocabulary: Option<String>,
    bytes: u64,
    created_at_ms: u64,
}

impl From<&v1::Dataset> for Dataset {
    fn from(dataset: &v1::Dataset) -> Self {
        Self {
            name: dataset.name.clone(),
            digest: dataset.digest.clone(),
            train_rows: dataset.train_rows,
            test_rows: dataset.test_rows,
            features: dataset.features,
            label: dataset.label.clone(),
            has_targets: dataset.has_targets,
            classes: dataset.classes.clone(),
            class_rows: dataset.class_rows.clone(),
            scaling: match dataset.scaling() {
                v1::Scaling::None => "none",
                v1::Scaling::Standard | v1::Scaling::Unspecified => "standard",
            },
            vocabulary: dataset.vocabulary.clone(),
            bytes: dataset.bytes,
            created_at_ms: dataset.created_at_ms,
        }
    }
}

/// A data set, and what its clients would hold when a partition was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) dataset: Dataset,
    pub(crate) clients: Option<Vec<Histogram>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Histogram {
    client: String,
    /// In the order of the data set's classes.
    rows: Vec<u64>,
}

impl From<&v1::ClientHistogram> for Histogram {
    fn from(histogram: &v1::ClientHistogram) -> Self {
        Self {
            client: histogram.client.clone(),
            rows: histogram.rows.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_data_set_shows_its_classes_and_clients() {
        let dataset = v1::Dataset {
            name: "digits".into(),
            digest: "blake3:00".into(),
            train_rows: 8,
            test_rows: 2,
            features: 64,
            classes: vec!["0".into(), "1".into()],
            class_rows: vec![5, 3],
            bytes: 2560,
            created_at_ms: 1000,
            label: "digit".into(),
            scaling: v1::Scaling::Standard.into(),
            vocabulary: None,
            has_targets: false,
        };
        let histogram = v1::ClientHistogram {
            client: "client-0000".into(),
            rows: vec![5, 3],
        };
        let shown = Shown {
            dataset: (&dataset).into(),
            clients: Some(vec![(&histogram).into()]),
        };
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({
                "dataset": {
                    "name": "digits", "digest": "blake3:00", "train_rows": 8, "test_rows": 2,
                    "features": 64, "label": "digit", "has_targets": false, "classes": ["0", "1"],
                    "class_rows": [5, 3], "scaling": "standard",
                    "vocabulary": null, "bytes": 2560, "created_at_ms": 1000,
                },
                "clients": [{"client": "client-0000", "rows": [5, 3]}],
            })
        );
    }
}
