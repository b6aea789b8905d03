//! What a catalogue must hold to, so that queries, alerts and people can rely on it.

use std::collections::BTreeMap;

use super::family::{Family, Kind, Unit};

/// Gauges that end in `_total` all the same: dashboards that people already have ask for them.
const NAMED_BY_OTHERS: [&str; 3] = [
    "federated_participants_total",
    "federation_total_agents",
    "model_parameters_total",
];

/// All labels that there are. A new one is a decision about how many series there can be.
const LABELS: [&str; 29] = [
    "agent",
    "category",
    "code",
    "database",
    "decision",
    "direction",
    "endpoint",
    "error_type",
    "job",
    "kind",
    "method",
    "metric",
    "model",
    "op",
    "operation",
    "outcome",
    "phase",
    "reason",
    "revision",
    "run",
    "service",
    "signal",
    "state",
    "status",
    "store",
    "strategy",
    "tier",
    "version",
    "waiting_for",
];

/// What is wrong with a catalogue; nothing when it can be relied on. For tests.
#[must_use]
pub fn problems(families: &[&Family]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeMap::new();
    for family in families {
        for name in std::iter::once(&family.name).chain(family.aliases) {
            problems.extend(name_problems(name, family.kind));
            if let Some(other) = seen.insert(*name, *family)
                && shape(other) != shape(family)
            {
                problems.push(format!("{name} is declared twice, and differently"));
            }
        }
        problems.extend(family_problems(family));
    }
    problems
}

/// What two services must agree on that show the same metric.
fn shape(family: &Family) -> (Kind, Vec<&str>, &[f64]) {
    let labels = family.labels.iter().map(|label| label.name);
    (family.kind, labels.collect(), family.buckets)
}

fn name_problems(name: &str, kind: Kind) -> Vec<String> {
    let mut problems = Vec::new();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(fits) || name.contains("__") {
        problems.push(format!("{name:?} is not in snake_case"));
    }
    let total = name.ends_with("_total");
    if kind == Kind::Counter && !total {
        problems.push(format!("{name} is a counter; its name must end in _total"));
    }
    if kind != Kind::Counter && total && !NAMED_BY_OTHERS.contains(&name) {
        problems.push(format!(
            "{name} is no counter; its name must not end in _total"
        ));
    }
    for (wrong, right) in [
        ("_ms", "_seconds"),
        ("_kib", "_bytes"),
        ("_percent", "_ratio"),
    ] {
        if name.ends_with(wrong) {
            problems.push(format!("{name} has another unit than {right}"));
        }
    }
    problems
}

fn family_problems(family: &Family) -> Vec<String> {
    let name = family.name;
    let mut problems = Vec::new();
    let help = family.help();
    if !help.ends_with('.') {
        problems.push(format!("the help of {name} is no sentence: {help:?}"));
    }
    for label in family.labels {
        if !LABELS.contains(&label.name) {
            problems.push(format!(
                "{name} has the label {:?}, which is not in the list",
                label.name
            ));
        }
    }
    if (family.kind == Kind::Histogram) == family.buckets.is_empty() {
        problems.push(format!(
            "{name} has buckets and is no histogram, or the other way round"
        ));
    }
    if !family.buckets.is_sorted_by(|one, next| one < next) {
        problems.push(format!("the buckets of {name} do not rise"));
    }
    // Prometheus 3 writes le="2.0" where 2.53 wrote le="2", so that a query for a whole edge is
    // empty on one of them.
    if family.unit() == Unit::Seconds
        && let Some(edge) = family.buckets.iter().find(|edge| is_objective(**edge))
    {
        problems.push(format!(
            "{name} has the edge {edge}; take one that is not whole, like 2.5"
        ));
    }
    problems
}

/// Whole edges where people set objectives for answers. 3 is no such place, and dashboards that
/// people bring along ask for it.
fn is_objective(edge: f64) -> bool {
    (2.0..3.0).contains(&edge) && edge.fract().abs() < f64::EPSILON
}

#[cfg(test)]
mod tests {
    use super::super::Label;
    use super::*;

    const GOOD: Family = Family {
        name: "kitchen_orders_total",
        kind: Kind::Counter,
        help: " Orders taken.",
        labels: &[Label {
            name: "outcome",
            values: &[],
        }],
        buckets: &[],
        aliases: &[],
        rows: "",
        field: "orders",
        crate_name: "kitchen",
    };

    const SLOW: Family = Family {
        name: "kitchen_cooking_duration_seconds",
        kind: Kind::Histogram,
        labels: &[],
        buckets: &[0.2, 0.5, 2.5],
        ..GOOD
    };

    fn told(family: Family) -> String {
        problems(&[&family]).join("; ")
    }

    #[test]
    fn a_good_catalogue_has_no_problems() {
        assert_eq!(problems(&[&GOOD, &SLOW, &GOOD]), [""; 0]);
    }

    fn named(name: &'static str, family: Family) -> Family {
        Family { name, ..family }
    }

    fn assert_told(family: Family, expected: &str) {
        let told = told(family);
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn a_bad_name_is_told_with_what_would_be_right() {
        assert_told(named("kitchen_orders", GOOD), "must end in _total");
        assert_told(named("kitchenOrders_total", GOOD), "snake_case");
        assert_told(named("kitchen_cooking_duration_ms", SLOW), "_seconds");
        let gauge = Kind::Gauge;
        assert_told(
            Family {
                kind: gauge,
                ..GOOD
            },
            "must not end in _total",
        );
    }

    #[test]
    fn a_bad_entry_is_told_with_what_would_be_right() {
        const GUEST: Label = Label {
            name: "guest_id",
            values: &[],
        };
        let (help, labels) = (" Orders", &[GUEST]);
        assert_told(Family { help, ..GOOD }, "no sentence");
        assert_told(Family { labels, ..GOOD }, "guest_id");
        let buckets: [&[f64]; 3] = [&[], &[0.5, 0.2], &[2.0]];
        for (buckets, expected) in buckets
            .iter()
            .zip(["other way round", "do not rise", "2.5"])
        {
            assert_told(Family { buckets, ..SLOW }, expected);
        }
        let other = Family { labels, ..GOOD };
        let told = problems(&[&GOOD, &other]).join("; ");
        assert!(told.contains("declared twice"), "{told}");
    }
}
