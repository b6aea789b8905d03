//! The rule files of `infra/prometheus/rules`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

const FOLDER: &str = "infra/prometheus/rules";

/// The file that is generated from service levels.
pub(super) const LEVELS: &str = "slo.yml";

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[expect(dead_code, reason = "a key of the file; promtool holds names apart")]
    name: String,
    #[expect(dead_code, reason = "a key of the file")]
    interval: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rule {
    Alert(Alert),
    Record(Record),
}

/// One alert; several may have the same name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alert {
    #[serde(rename = "alert")]
    pub(super) name: String,
    pub(super) expr: String,
    #[serde(rename = "for")]
    #[expect(dead_code, reason = "a key of the file; tests hold it")]
    wait: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    /// The name of its file.
    #[serde(skip)]
    pub(super) file: String,
}

/// A series that is made of others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    record: String,
    expr: String,
    #[serde(default)]
    #[expect(dead_code, reason = "a key of the file")]
    labels: BTreeMap<String, String>,
}

/// The paths of all rule files, in the order of their names.
pub(super) fn paths(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    super::tested::yaml_files(&root.join(FOLDER))
}

pub(super) fn read(root: &Path) -> anyhow::Result<Vec<RuleFile>> {
    let paths = paths(root)?;
    let read_one = |path: &PathBuf| {
        let text = fs::read_to_string(path)?;
        let mut file: RuleFile = serde_yaml_ng::from_str(&text)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for rule in file.groups.iter_mut().flat_map(|group| &mut group.rules) {
            if let Rule::Alert(alert) = rule {
                alert.file = name.clone().into_owned();
            }
        }
        anyhow::Ok(file)
    };
    paths
        .iter()
        .map(|path| read_one(path).with_context(|| format!("read {}", path.display())))
        .collect()
}

impl RuleFile {
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }

    pub(super) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.rules().filter_map(|rule| match rule {
            Rule::Alert(alert) => Some(alert),
            Rule::Record(_) => None,
        })
    }

    /// The names of the series that it makes.
    pub(super) fn recorded(&self) -> impl Iterator<Item = &str> {
        self.rules().filter_map(|rule| match rule {
            Rule::Record(record) => Some(record.record.as_str()),
            Rule::Alert(_) => None,
        })
    }

    /// Every query, with the name of its rule.
    pub(super) fn queries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules().map(|rule| match rule {
            Rule::Alert(alert) => (alert.name.as_str(), alert.expr.as_str()),
            Rule::Record(record) => (record.record.as_str(), record.expr.as_str()),
        })
    }
}
