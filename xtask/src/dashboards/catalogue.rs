//! Which series exist: those of our services, by docs/metrics.md; those of the exporters in use, by
//! grafana/exporters.yaml; and those that recording rules make of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, anyhow, bail};

use super::query::Shape;
use super::recorded;
use super::text;
use super::unit::Unit;

const OURS: &str = "docs/metrics.md";
const EXPORTERS: &str = "grafana/exporters.yaml";

/// The group of exporters.yaml for what Prometheus itself adds, whatever it scrapes.
pub(super) const EVERY_TARGET: &str = "every target";

/// Labels that a scrape adds to each series.
pub(crate) const TARGET_LABELS: [&str; 2] = ["job", "instance"];

const OUR_JOBS: [&str; 3] = [
    "pangea-orchestrator",
    "pangea-compute-core",
    "pangea-training-worker",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Which values a label takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Values {
    Any,
    These(Vec<String>),
}

/// A family of series.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(crate) labels: BTreeMap<String, Values>,
    /// Prometheus's jobs that show it; empty for what every target has.
    pub(super) jobs: BTreeSet<String>,
}

/// What a name in a query stands for.
#[derive(Debug)]
pub(crate) enum Series<'a> {
    /// A counter or a gauge by its own name.
    Plain(&'a Metric),
    /// One of the three of a histogram.
    Bucket(&'a Metric),
    Sum(&'a Metric),
    Count(&'a Metric),
    /// What a recording rule makes.
    Recorded(&'a Shape),
}

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// All names of each metric of ours.
    ours: Vec<Vec<String>>,
    metrics: BTreeMap<String, Metric>,
    recorded: BTreeMap<String, Shape>,
}

impl Catalogue {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut catalogue = Self::default();
        catalogue
            .add_ours(&text(root, OURS)?)
            .with_context(|| format!("read the tables of {OURS}"))?;
        catalogue
            .add_exporters(&text(root, EXPORTERS)?)
            .with_context(|| format!("read {EXPORTERS}"))?;
        recorded::add(root, &mut catalogue)?;
        Ok(catalogue)
    }

    /// Adds the rows of a page as `make docs` writes it.
    pub(crate) fn add_ours(&mut self, page: &str) -> anyhow::Result<()> {
        for row in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row
                .split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ']))
                .collect();
            let [name, kind, unit, labels, says, shown_by, ..] = cells[..] else {
                bail!("this row has fewer than six cells: {row}");
            };
            let metric = Metric {
                kind: kind_named(kind)?,
                unit: Unit::named(unit).ok_or_else(|| anyhow!("{unit} is no unit: {row}"))?,
                labels: labels_of(labels),
                jobs: our_jobs(shown_by),
            };
            let aliases = says
                .split("Also as `")
                .nth(1)
                .and_then(|rest| rest.split("`.").next());
            let aliases = aliases.into_iter().flat_map(|names| names.split("`, `"));
            let names: Vec<String> = [name.trim_matches('`')]
                .into_iter()
                .chain(aliases)
                .map(str::to_owned)
                .collect();
            for name in &names {
                self.add(name, metric.clone());
            }
            self.ours.push(names);
        }
        if self.metrics.is_empty() {
            bail!("it lists no metric");
        }
        Ok(())
    }

    /// Adds groups of `name: kind unit label label…`, each under the job that shows them.
    pub(crate) fn add_exporters(&mut self, yaml: &str) -> anyhow::Result<()> {
        let groups: BTreeMap<String, BTreeMap<String, String>> = serde_yaml_ng::from_str(yaml)?;
        for (job, metrics) in groups {
            for (name, line) in metrics {
                let mut words = line.split_whitespace();
                let (Some(kind), Some(unit)) = (words.next(), words.next()) else {
                    bail!("{name}: expected a kind, a unit and labels; found {line:?}");
                };
                let metric = Metric {
                    kind: kind_named(kind)?,
                    unit: Unit::named(unit).ok_or_else(|| anyhow!("{name}: {unit} is no unit"))?,
                    labels: words.map(|label| (label.to_owned(), Values::Any)).collect(),
                    jobs: Some(job.clone())
                        .filter(|job| job != EVERY_TARGET)
                        .into_iter()
                        .collect(),
                };
                self.add(&name, metric);
            }
        }
        Ok(())
    }

    /// Each metric of ours of whose names none is among `series`, by its first name.
    pub(super) fn ours_not_in(&self, series: &BTreeSet<String>) -> impl Iterator<Item = &str> {
        let is_among = |name: &String| {
            let suffixes = ["", "_bucket", "_sum", "_count"];
            suffixes
                .iter()
                .any(|suffix| series.contains(&format!("{name}{suffix}")))
        };
        let unseen = move |names: &&Vec<String>| !names.iter().any(is_among);
        self.ours
            .iter()
            .filter(unseen)
            .map(|names| names[0].as_str())
    }

    /// Several rules may record one name, with other labels.
    pub(super) fn add_recorded(&mut self, name: &str, shape: Shape) {
        let shape = match self.recorded.remove(name) {
            Some(before) => before.or(shape),
            None => shape,
        };
        self.recorded.insert(name.to_owned(), shape);
    }

    /// Two services may show one metric, in which case both jobs have it.
    fn add(&mut self, name: &str, metric: Metric) {
        let jobs = metric.jobs.clone();
        self.metrics
            .entry(name.to_owned())
            .or_insert(metric)
            .jobs
            .extend(jobs);
    }

    pub(crate) fn series(&self, name: &str) -> Option<Series<'_>> {
        if let Some(shape) = self.recorded.get(name) {
            return Some(Series::Recorded(shape));
        }
        let histogram = |suffix| {
            let metric = self.metrics.get(name.strip_suffix(suffix)?)?;
            (metric.kind == Kind::Histogram).then_some(metric)
        };
        self.metrics
            .get(name)
            .map(Series::Plain)
            .or_else(|| histogram("_bucket").map(Series::Bucket))
            .or_else(|| histogram("_sum").map(Series::Sum))
            .or_else(|| histogram("_count").map(Series::Count))
    }

    /// The names that fit.
    pub(super) fn names(&self, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let names = self.metrics.keys().chain(self.recorded.keys());
        names.filter(|name| fits(name)).cloned().collect()
    }

    /// The name that exists and is most like `name`.
    pub(crate) fn nearest(&self, name: &str) -> String {
        nearest(name, self.metrics.keys().chain(self.recorded.keys()))
    }
}

fn kind_named(word: &str) -> anyhow::Result<Kind> {
    match word {
        "counter" => Ok(Kind::Counter),
        "gauge" => Ok(Kind::Gauge),
        "histogram" => Ok(Kind::Histogram),
        _ => bail!("{word} is no kind of metric; expected counter, gauge or histogram"),
    }
}

/// Reads `` `store`: local, s3; `run`: … ``. A label that the scrape sets too gets a new name there.
fn labels_of(cell: &str) -> BTreeMap<String, Values> {
    let label = |part: &str| {
        let (name, values) = part.split_once(": ")?;
        let name = name.trim_matches('`');
        let name = match TARGET_LABELS.contains(&name) {
            true => format!("exported_{name}"),
            false => name.to_owned(),
        };
        let values = match values {
            "…" => Values::Any,
            values => Values::These(values.split(", ").map(str::to_owned).collect()),
        };
        Some((name, values))
    };
    cell.split("; ").filter_map(label).collect()
}

fn our_jobs(shown_by: &str) -> BTreeSet<String> {
    let shows = |job: &&str| {
        let service = job.trim_start_matches("pangea-");
        shown_by == "every process" || shown_by.split(", ").any(|name| name == service)
    };
    OUR_JOBS
        .into_iter()
        .filter(shows)
        .map(str::to_owned)
        .collect()
}

/// Of several names, the one that takes the fewest edits to become `name`.
pub(super) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a String>) -> String {
    among
        .min_by_key(|other| edits(name, other))
        .cloned()
        .unwrap_or_default()
}

/// Letters to add, remove or replace between two words.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}
