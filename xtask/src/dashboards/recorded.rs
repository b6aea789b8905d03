//! What recording rules make of the series. Alerts are held against the catalogue elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Deserialize;

use super::catalogue::Catalogue;
use super::query::{Fault, Rigour, Shape, check};

const RULES: &str = "infra/prometheus/rules";

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    record: Option<String>,
    expr: serde_yaml_ng::Value,
    #[serde(default)]
    labels: serde_yaml_ng::Mapping,
}

impl Rule {
    fn name(&self) -> &str {
        self.record.as_deref().unwrap_or_default()
    }

    fn query(&self) -> anyhow::Result<String> {
        serde_yaml_ng::from_value(self.expr.clone())
            .with_context(|| format!("read the expr of {}", self.name()))
    }

    fn own_labels(&self) -> impl Iterator<Item = String> {
        self.labels
            .keys()
            .filter_map(|label| label.as_str().map(str::to_owned))
    }
}

/// Adds what the rules record. They may build on each other in any order.
pub(super) fn add(root: &Path, catalogue: &mut Catalogue) -> anyhow::Result<()> {
    let mut waiting = Vec::new();
    for path in files(&root.join(RULES))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("read {RULES}/{name}"))?;
        waiting.extend(read(&text).with_context(|| format!("read {RULES}/{name}"))?);
    }
    add_all(waiting, catalogue)
}

/// The rule files, or none where there are no rules.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {RULES}"))? {
        files.push(entry.with_context(|| format!("list {RULES}"))?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    Ok(files)
}

fn read(text: &str) -> anyhow::Result<Vec<Rule>> {
    let file: File = serde_yaml_ng::from_str(text)?;
    let rules = file.groups.into_iter().flat_map(|group| group.rules);
    Ok(rules.filter(|rule| rule.record.is_some()).collect())
}

fn add_all(mut waiting: Vec<Rule>, catalogue: &mut Catalogue) -> anyhow::Result<()> {
    loop {
        let before = waiting.len();
        let mut first_fault = None;
        let mut made: Vec<(String, Shape)> = Vec::new();
        let mut unread = Vec::new();
        for rule in waiting {
            match check(&rule.query()?, catalogue, Rigour::Names) {
                Ok(shape) => {
                    let labels = shape.labels.clone().with(rule.own_labels());
                    let shape = Shape::vector(labels, shape.unit);
                    made.extend(rule.record.map(|name| (name, shape)));
                }
                // What another rule records may not be known yet.
                Err(fault @ Fault::NoMetric { .. }) => {
                    first_fault.get_or_insert_with(|| anyhow!("the rule {}: {fault}", rule.name()));
                    unread.push(rule);
                }
                Err(fault) => return Err(anyhow!("the rule {}: {fault}", rule.name())),
            }
        }
        for (name, shape) in made {
            catalogue.add_recorded(&name, shape);
        }
        match first_fault {
            None => return Ok(()),
            Some(fault) if unread.len() == before => return Err(fault),
            Some(_) => waiting = unread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboards::query::Labels;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        let yaml = "oven:\n  oven_plates_total: counter count shelf\n";
        catalogue.add_exporters(yaml).unwrap();
        catalogue
    }

    fn rules(text: &str) -> Vec<Rule> {
        read(&format!("groups:\n- name: oven\n  rules:\n{text}")).unwrap()
    }

    #[test]
    fn a_rule_may_build_on_a_later_one_and_adds_its_labels() {
        let mut catalogue = catalogue();
        let text = "  - {record: 'oven:double', expr: '2 * oven:rate'}\n  \
                    - {record: 'oven:rate', expr: 'sum by (shelf) (rate(oven_plates_total[5m]))', labels: {house: a}}\n";
        add_all(rules(text), &mut catalogue).unwrap();
        let shape = check("oven:double", &catalogue, Rigour::Panel).unwrap();
        assert_eq!(
            shape.labels,
            Labels::none().with(["shelf".to_owned(), "house".to_owned()])
        );
        assert_eq!(shape.unit.unwrap().to_string(), "a count per second");
    }

    #[test]
    fn a_rule_that_names_no_metric_is_refused_by_name() {
        let text = "  - {record: 'oven:cold', expr: 'oven_plate_total == 0'}\n";
        let error = add_all(rules(text), &mut catalogue()).unwrap_err();
        let expected = "the rule oven:cold: no metric is called oven_plate_total; \
                        the nearest is oven_plates_total";
        assert_eq!(error.to_string(), expected);
    }
}
