//! Data sets: imported from a table or a text, dealt to clients.
//!
//! The data of a data set, and each client's shard of it, is a safetensors file named by its
//! digest; a manifest names them. Test rows are in no shard.

pub mod examples;
pub mod import;
pub mod scaling;
pub mod shards;
pub mod split;
pub mod table;
pub mod text;

use federation::job::DatasetFacts;
use serde::{Deserialize, Serialize};

pub use examples::{ExamplesRef, Layout};
pub use scaling::Scaling;
use text::Vocabulary;

/// What a data set is made of. Its digest, over this as JSON, stands for every byte of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What it is called.
    pub name: String,
    /// The column that holds the class, or the target.
    pub label: String,
    /// The other columns, in the order of a row's numbers.
    pub features: Vec<String>,
    /// The classes, in the order of their numbers; none where there are targets.
    pub classes: Vec<String>,
    /// What was done to each number before it was stored.
    pub scaling: Scaling,
    /// Whether that was anything at all.
    pub scaled: bool,
    /// The rows that are dealt to clients.
    pub train: ExamplesRef,
    /// The rows that are held out.
    pub test: ExamplesRef,
    /// Training rows of each class.
    pub class_rows: Vec<u64>,
    /// The share that was to be held out.
    pub test_fraction: f64,
    /// Of the split.
    pub seed: u64,
    /// Whether rows are windows of a text: features and classes are its characters then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_text: bool,
    /// Whether rows have numbers in place of classes, which a regression learns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_targets: bool,
}

impl Manifest {
    /// What a job must fit.
    #[must_use]
    pub fn facts(&self) -> DatasetFacts {
        DatasetFacts {
            train_rows: self.train.rows,
            features: self.features.len(),
            classes: match self.has_targets {
                true => 1,
                false => self.classes.len(),
            },
            is_text: self.is_text,
            has_targets: self.has_targets,
        }
    }

    /// What each row holds.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout {
            features: self.features.len(),
            has_targets: self.has_targets,
        }
    }

    /// The characters of a text.
    #[must_use]
    pub fn vocabulary(&self) -> Option<Vocabulary> {
        self.is_text.then(|| Vocabulary::of_classes(&self.classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_from_before_there_were_texts_keeps_its_bytes() {
        let digest = federation::Digest::of(b"x");
        let rows = format!(
            r#"{{"rows":2,"blob":{{"key":"datasets/a","offset":8,"len":16,"digest":"{digest}"}}}}"#
        );
        let stored = format!(
            r#"{{"name":"d","label":"l","features":["a"],"classes":["0","1"],"scaling":{{"offset":[0.0],"factor":[1.0]}},"scaled":false,"train":{rows},"test":{rows},"class_rows":[1,1],"test_fraction":0.5,"seed":7}}"#
        );
        let manifest: Manifest = serde_json::from_str(&stored).unwrap();
        assert_eq!(manifest.vocabulary(), None);
        assert_eq!(serde_json::to_string(&manifest).unwrap(), stored);

        let text = Manifest {
            is_text: true,
            ..manifest
        };
        let stored = serde_json::to_string(&text).unwrap();
        let read: Manifest = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.vocabulary().unwrap().as_text(), "01");
    }
}
