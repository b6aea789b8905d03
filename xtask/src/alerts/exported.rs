//! What is exported, and by whom: our services by `docs/metrics.md`, the programs around them by the
//! prefixes of their names, and what rules record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use super::rules::RuleFile;

const PAGE: &str = "docs/metrics.md";

/// How the names of a program's metrics begin, and Prometheus's job for it.
const OTHERS: [(&str, &str); 9] = [
    ("node_", "node-exporter"),
    ("container_", "cadvisor"),
    ("pg_", "postgres-exporter"),
    ("prometheus_", "prometheus"),
    ("alertmanager_", "alertmanager"),
    ("otelcol_", "otel-collector"),
    ("jaeger_", "jaeger"),
    ("loki_", "loki"),
    ("grafana_", "grafana"),
];

/// What Prometheus says of every target, and of alerts.
const OF_TARGETS: [&str; 3] = ["up", "scrape_samples_post_metric_relabeling", "ALERTS"];

/// Labels that a scrape adds, and the edge of a bucket.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// The labels of a metric, each with its values; none where they come from outside.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// What can be asked for.
#[derive(Debug, Default)]
pub(super) struct Exported {
    ours: BTreeMap<String, Labels>,
    recorded: BTreeSet<String>,
}

impl Exported {
    pub(super) fn read(root: &Path, files: &[RuleFile]) -> anyhow::Result<Self> {
        let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("read {PAGE}"))?;
        let mut exported = Self::default();
        for row in page.lines().filter(|line| line.starts_with("| `")) {
            exported
                .add(row)
                .with_context(|| format!("read this row of {PAGE}: {row}"))?;
        }
        let recorded = files.iter().flat_map(RuleFile::recorded);
        exported.recorded = recorded.map(str::to_owned).collect();
        Ok(exported)
    }

    /// Adds a row of the page, with the other names of its metric.
    fn add(&mut self, row: &str) -> anyhow::Result<()> {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [name, kind, _, labels, says, ..] = cells[..] else {
            bail!("expected a name, a type, a unit, labels and a text");
        };
        let labels = labels_of(labels);
        let also = says
            .split("Also as `")
            .nth(1)
            .and_then(|rest| rest.split("`.").next());
        let names = also.into_iter().flat_map(|names| names.split("`, `"));
        for name in names.chain([name.trim_matches('`')]) {
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            for suffix in suffixes {
                let known = self.ours.entry(format!("{name}{suffix}")).or_default();
                known.extend(labels.clone());
            }
        }
        Ok(())
    }

    /// What is wrong with asking for this metric.
    pub(super) fn problem_with(&self, name: &str) -> Option<String> {
        let by_another = OTHERS.iter().any(|(prefix, _)| name.starts_with(prefix));
        let known = self.ours.contains_key(name)
            || self.recorded.contains(name)
            || OF_TARGETS.contains(&name)
            || by_another;
        (!known).then(|| format!("nobody exports {name}"))
    }

    /// What is wrong with asking for this label of a metric, or for this value of it.
    pub(super) fn problem_with_label(
        &self,
        metric: &str,
        label: &str,
        value: &str,
    ) -> Option<String> {
        let labels = self.ours.get(metric)?;
        if ADDED.contains(&label) {
            return None;
        }
        match labels.get(label) {
            None => Some(format!("{metric} has no label {label}")),
            Some(values) if values.is_empty() || values.contains(value) => None,
            Some(_) => Some(format!("{label} of {metric} is never {value:?}")),
        }
    }
}

/// Reads ``` `a`: x, y; `b`: … ```.
fn labels_of(cell: &str) -> Labels {
    let parts = cell.split("; ").filter_map(|part| part.split_once(": "));
    parts
        .map(|(name, values)| {
            let values = values.trim().split(", ").filter(|value| *value != "…");
            let values = values.map(str::to_owned).collect();
            (name.trim().trim_matches('`').to_owned(), values)
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::alerts) fn exported() -> Exported {
        let mut exported = Exported::default();
        for row in [
            "| `up_and_down` | gauge | count |  | Plates. Also as `plates`, `dishes`. | orchestrator |  |",
            "| `wait_seconds` | histogram | seconds | `phase`: cook, serve; `run`: … | A wait. | orchestrator |  |",
        ] {
            exported.add(row).unwrap();
        }
        exported.recorded.insert("slo:bad".to_owned());
        exported
    }

    #[test]
    fn a_metric_is_known_by_all_its_names() {
        let exported = exported();
        for name in [
            "up_and_down",
            "plates",
            "dishes",
            "wait_seconds_bucket",
            "slo:bad",
            "up",
            "pg_up",
        ] {
            assert_eq!(exported.problem_with(name), None);
        }
        for name in ["wait_seconds", "forks", "up_and_down_bucket"] {
            assert!(exported.problem_with(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_label_has_the_values_that_are_listed_or_any() {
        let exported = exported();
        let problem = |label, value| exported.problem_with_label("wait_seconds_sum", label, value);
        assert_eq!(problem("phase", "cook"), None);
        assert_eq!(problem("run", "whatever"), None);
        assert_eq!(problem("job", "pangea-orchestrator"), None);
        assert!(problem("phase", "eat").is_some());
        assert!(problem("table", "4").is_some());
    }
}
