//! Names, labels and values in selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use promql_parser::label::{METRIC_NAME, MatchOp, Matcher};
use promql_parser::parser::{Expr, VectorSelector};
use promql_parser::util::ExprVisitor;

use super::{Fault, Labels, Reader, Shape};
use crate::dashboards::catalogue::{
    Catalogue, Kind, Metric, Series, TARGET_LABELS, Values, nearest,
};
use crate::dashboards::unit::Unit;

/// What a selector chose.
pub(super) struct Selected {
    pub(super) name: String,
    pub(super) counts: bool,
    pub(super) shape: Shape,
}

impl Reader<'_> {
    /// A selector that is used as it is, without a range.
    pub(super) fn instant(&self, selector: &VectorSelector) -> Result<Shape, Fault> {
        let selected = self.select(selector)?;
        if selected.counts && self.is_for_a_panel() {
            return Err(Fault::BareCounter(selected.name));
        }
        Ok(selected.shape)
    }

    /// Where the name is a pattern, what it yields is that of the first metric that fits.
    pub(super) fn select(&self, selector: &VectorSelector) -> Result<Selected, Fault> {
        let mut found = Err(Fault::NoName);
        for name in names(selector, self.catalogue) {
            found = self.select_named(name, selector);
            if found.is_ok() {
                break;
            }
        }
        found
    }

    fn select_named(&self, name: String, selector: &VectorSelector) -> Result<Selected, Fault> {
        let no_metric = || Fault::NoMetric {
            name: name.clone(),
            nearest: self.catalogue.nearest(&name),
        };
        let matchers = || {
            let or = selector.matchers.or_matchers.iter().flatten();
            let all = selector.matchers.matchers.iter().chain(or);
            all.filter(|matcher| matcher.name != METRIC_NAME)
        };
        let (metric, counts, unit, measured) =
            match self.catalogue.series(&name).ok_or_else(no_metric)? {
                Series::Recorded(shape) => {
                    let names: Vec<String> =
                        matchers().map(|matcher| matcher.name.clone()).collect();
                    shape.labels.expect(&names)?;
                    return Ok(Selected {
                        name,
                        counts: false,
                        shape: shape.clone(),
                    });
                }
                Series::Plain(metric) if metric.kind == Kind::Histogram => {
                    return Err(Fault::BareHistogram(name));
                }
                Series::Plain(metric) => (metric, metric.kind == Kind::Counter, metric.unit, None),
                Series::Bucket(metric) => (metric, true, Unit::ONE, Some(metric.unit)),
                Series::Sum(metric) => (metric, true, metric.unit, None),
                Series::Count(metric) => (metric, true, Unit::ONE, None),
            };
        let labels = values(metric, measured.is_some());
        for matcher in matchers() {
            check_matcher(&name, &labels, matcher)?;
        }
        let names = Labels::none().with(labels.into_keys());
        let shape = Shape {
            measured,
            ..Shape::vector(names, Some(unit))
        };
        Ok(Selected {
            name,
            counts,
            shape,
        })
    }
}

/// What a selector asks for.
pub(super) struct Asked {
    pub(super) names: Vec<String>,
    /// The jobs that may show it; none where that cannot be said.
    pub(super) jobs: Vec<String>,
}

/// Collects the selectors of a query.
pub(super) struct Selectors<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) asked: Vec<Asked>,
}

impl ExprVisitor for Selectors<'_> {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        let selector = match expr {
            Expr::VectorSelector(selector) => selector,
            Expr::MatrixSelector(matrix) => &matrix.vs,
            _ => return Ok(true),
        };
        let matchers = &selector.matchers.matchers;
        let job = matchers.iter().find(|matcher| matcher.name == "job");
        let named = job.filter(|job| job.op == MatchOp::Equal);
        let mut jobs = BTreeSet::new();
        let names = names(selector, self.catalogue);
        for name in &names {
            match self.catalogue.series(name) {
                Some(
                    Series::Plain(metric)
                    | Series::Bucket(metric)
                    | Series::Sum(metric)
                    | Series::Count(metric),
                ) if !metric.jobs.is_empty() => {
                    let fits = |name: &&String| job.is_none_or(|job| job.is_match(name));
                    jobs.extend(metric.jobs.iter().filter(fits).cloned());
                }
                Some(_) => jobs.extend(named.map(|job| job.value.clone())),
                None => {}
            }
        }
        self.asked.push(Asked {
            names,
            jobs: jobs.into_iter().collect(),
        });
        Ok(true)
    }
}

/// The names that a selector may mean: its own, or those that fit its pattern.
fn names(selector: &VectorSelector, catalogue: &Catalogue) -> Vec<String> {
    let pattern = || {
        selector
            .matchers
            .matchers
            .iter()
            .find(|matcher| matcher.name == METRIC_NAME)
    };
    match (&selector.name, pattern()) {
        (Some(name), _) => vec![name.clone()],
        (None, Some(pattern)) => catalogue.names(|name| pattern.is_match(name)),
        (None, None) => Vec::new(),
    }
}

/// The labels that a series has in Prometheus, with their values.
fn values(metric: &Metric, is_bucket: bool) -> BTreeMap<String, Values> {
    let mut labels = metric.labels.clone();
    for label in TARGET_LABELS {
        labels.insert(label.to_owned(), Values::Any);
    }
    if !metric.jobs.is_empty() {
        let jobs = metric.jobs.iter().cloned().collect();
        labels.insert("job".to_owned(), Values::These(jobs));
    }
    if is_bucket {
        labels.insert("le".to_owned(), Values::Any);
    }
    labels
}

fn check_matcher(
    metric: &str,
    labels: &BTreeMap<String, Values>,
    matcher: &Matcher,
) -> Result<(), Fault> {
    let label = &matcher.name;
    let is_whole = |edge: f64| edge.is_finite() && edge.fract().abs() == 0.0;
    if label == "le" && matcher.value.parse().is_ok_and(is_whole) {
        return Err(Fault::WholeEdge(matcher.value.clone()));
    }
    let Some(values) = labels.get(label) else {
        return Err(Fault::NoLabelOf {
            metric: metric.to_owned(),
            label: label.clone(),
            nearest: nearest(label, labels.keys()),
            known: labels.keys().cloned().collect::<Vec<_>>().join(", "),
        });
    };
    let Values::These(known) = values else {
        return Ok(());
    };
    let named: Vec<&str> = match &matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
    };
    let is_plain = |value: &&str| {
        let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | ' ');
        !value.is_empty() && value.chars().all(plain)
    };
    let unknown = |value: &&str| !known.iter().any(|known| known == value);
    match named.into_iter().filter(is_plain).find(unknown) {
        None => Ok(()),
        Some(value) => Err(Fault::NoValue {
            metric: metric.to_owned(),
            label: label.clone(),
            value: value.to_owned(),
            nearest: nearest(value, known.iter()),
        }),
    }
}
