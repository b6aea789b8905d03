//! Whether each alert is tested, and an idle system is.
//!
//! A test in `infra/prometheus/tests` that is called `Alert: …` is one of that alert. It looks at
//! which alerts fire, at times of which one at least has the alert among them, and one has not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::queries;
use super::rules::RuleFile;

const FOLDER: &str = "infra/prometheus/tests";
const IDLE: &str = "infra/prometheus/tests/idle.yml";

/// How a test asks for what fires.
const FIRING: &str = r#"(ALERTS{alertstate="firing"})"#;

#[derive(Debug, Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
struct Test {
    name: String,
    input_series: Vec<Input>,
    #[serde(default)]
    promql_expr_test: Vec<Look>,
}

#[derive(Debug, Deserialize)]
struct Input {
    series: String,
}

#[derive(Debug, Deserialize)]
struct Look {
    expr: String,
    exp_samples: Vec<Value>,
}

impl Look {
    fn sees(&self, alert: &str) -> bool {
        let label = format!("alertname=\"{alert}\"");
        let labels = self
            .exp_samples
            .iter()
            .filter_map(|sample| sample.get("labels")?.as_str());
        labels.into_iter().any(|labels| labels.contains(&label))
    }
}

/// The YAML files in a folder, in the order of their names.
pub(super) fn yaml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("list {}", folder.display()))?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yml"));
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> anyhow::Result<Vec<Test>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let file: TestFile =
        serde_yaml_ng::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    Ok(file.tests)
}

/// Alerts that no test sees fire, or that no test sees silent.
pub(super) fn problems(root: &Path, alerts: &BTreeSet<&str>) -> anyhow::Result<Vec<String>> {
    let mut tests = Vec::new();
    for path in yaml_files(&root.join(FOLDER))? {
        tests.extend(read(&path)?);
    }
    let untested = alerts.iter().filter_map(|alert| untested(alert, &tests));
    Ok(untested.collect())
}

fn untested(alert: &str, tests: &[Test]) -> Option<String> {
    let begins = format!("{alert}: ");
    let looks = tests
        .iter()
        .filter(|test| test.name.starts_with(&begins))
        .flat_map(|test| &test.promql_expr_test)
        .filter(|look| look.expr.ends_with(FIRING));
    let (firing, silent): (Vec<_>, Vec<_>) = looks.partition(|look| look.sees(alert));
    let missing = match (firing.is_empty(), silent.is_empty()) {
        (false, false) => return None,
        (true, _) => "fires",
        (false, true) => "stays silent",
    };
    Some(format!(
        "{alert}: no test called {begins:?} sees that it {missing}"
    ))
}

/// Metrics that alerts ask for and that the test of an idle system does not have: what is not there
/// is silent for another reason.
pub(super) fn left_out_of_idle(root: &Path, files: &[RuleFile]) -> anyhow::Result<Vec<String>> {
    let tests = read(&root.join(IDLE))?;
    let inputs = tests.iter().flat_map(|test| &test.input_series);
    let there: BTreeSet<String> = inputs
        .flat_map(|input| queries::metrics(&input.series))
        .chain(files.iter().flat_map(RuleFile::recorded).map(str::to_owned))
        .collect();
    let asked: BTreeSet<String> = files
        .iter()
        .flat_map(RuleFile::alerts)
        .flat_map(|alert| queries::metrics(&alert.expr))
        .collect();
    // A metric that is known by two names is there by one of them.
    let is_there = |name: &String| {
        there.contains(name)
            || there.contains(&format!("{name}_total"))
            || there.contains(name.trim_end_matches("_total"))
    };
    let left_out = asked.iter().filter(|name| !is_there(name));
    Ok(left_out
        .map(|name| format!("{IDLE} has no {name}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(looks: &str) -> Option<String> {
        let yaml =
            format!("tests: [{{name: 'A: x', input_series: [], promql_expr_test: [{looks}]}}]");
        let file: TestFile = serde_yaml_ng::from_str(&yaml).unwrap();
        untested("A", &file.tests)
    }

    #[test]
    fn an_alert_is_seen_to_fire_and_to_be_silent() {
        let expr = r#"expr: 'count by (alertname) (ALERTS{alertstate="firing"})'"#;
        let fires =
            format!(r#"{{{expr}, exp_samples: [{{labels: '{{alertname="A"}}', value: 1}}]}}"#);
        let silent = format!("{{{expr}, exp_samples: []}}");
        let another =
            format!(r#"{{{expr}, exp_samples: [{{labels: '{{alertname="AB"}}', value: 1}}]}}"#);
        assert_eq!(missing(&format!("{fires}, {silent}")), None);
        assert_eq!(missing(&format!("{fires}, {another}")), None);
        assert!(missing(&fires).unwrap().ends_with("stays silent"));
        assert!(
            missing(&format!("{silent}, {another}"))
                .unwrap()
                .ends_with("fires")
        );
    }
}
