//! What is wrong with asking for a series: held against the same catalogue as the dashboards.

use std::path::Path;

use crate::dashboards::catalogue::{Catalogue, Series, TARGET_LABELS, Values};

/// The edge of a bucket.
const EDGE: &str = "le";

/// What can be asked for.
#[derive(Debug, Default)]
pub(super) struct Exported(Catalogue);

impl Exported {
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        Catalogue::read(root).map(Self)
    }

    /// What is wrong with asking for this metric.
    pub(super) fn problem_with(&self, name: &str) -> Option<String> {
        if self.0.series(name).is_some() {
            return None;
        }
        let nearest = self.0.nearest(name);
        Some(format!("nobody exports {name}; did you mean {nearest}?"))
    }

    /// What is wrong with asking for this label of a metric, or for this value of it.
    pub(super) fn problem_with_label(
        &self,
        metric: &str,
        label: &str,
        value: &str,
    ) -> Option<String> {
        let known = match self.0.series(metric)? {
            Series::Plain(known) | Series::Sum(known) | Series::Count(known) => known,
            Series::Bucket(_) if label == EDGE => return None,
            Series::Bucket(known) => known,
            Series::Recorded(_) => return None,
        };
        if TARGET_LABELS.contains(&label) {
            return None;
        }
        match known.labels.get(label) {
            None => Some(format!("{metric} has no label {label}")),
            Some(Values::Any) => None,
            Some(Values::These(values)) if values.iter().any(|own| own == value) => None,
            Some(Values::These(_)) => Some(format!("{label} of {metric} is never {value:?}")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::alerts) fn exported() -> Exported {
        let mut catalogue = Catalogue::default();
        let page = "\
| `up_and_down` | gauge | count |  | Plates. Also as `plates`, `dishes`. | orchestrator |  |
| `wait_seconds` | histogram | seconds | `phase`: cook, serve; `run`: … | A wait. | orchestrator |  |
";
        catalogue.add_ours(page).unwrap();
        let exporters = "every target: {up: gauge count}\npg: {pg_up: gauge count}";
        catalogue.add_exporters(exporters).unwrap();
        Exported(catalogue)
    }

    #[test]
    fn a_metric_is_known_by_all_its_names() {
        let exported = exported();
        for name in [
            "up_and_down",
            "plates",
            "dishes",
            "wait_seconds_bucket",
            "up",
            "pg_up",
        ] {
            assert_eq!(exported.problem_with(name), None);
        }
        for name in ["wait_seconds_total", "forks", "up_and_down_bucket", "pg_x"] {
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
