//! Reads a query as Prometheus would, and says what is wrong with it before a person on call does.
//!
//! From the catalogue follows what each part of a query yields: which labels, in which unit. A
//! metric or label that does not exist is refused with the nearest that does; so are the forms that
//! parse and mislead: a bare counter, a quantile without `le`, a division by what may be zero, two
//! sides whose labels never match.

mod binary;
mod calls;
mod fault;
mod selector;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::{AggregateExpr, Expr, LabelModifier};
use promql_parser::util::walk_expr;

pub(super) use fault::Fault;

use super::catalogue::{Catalogue, nearest};
use super::unit::Unit;

/// What stands in a query for what Grafana fills in, and what it is filled with here.
///
/// `$__rate_interval` is four scrapes of 15 s, as in Grafana.
pub(super) const FILLED: [(&str, &str); 3] = [
    ("$__rate_interval", "1m"),
    ("$__interval", "15s"),
    ("$__range", "1h"),
];

/// Which faults count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rigour {
    /// Everything that a panel must not have.
    Panel,
    /// Only names that do not exist: for rules, whose files have tests of their own.
    Names,
}

/// The labels of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Labels {
    Any,
    These(BTreeSet<String>),
}

impl Labels {
    pub(super) fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    pub(super) fn has(&self, label: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(labels) => labels.contains(label),
        }
    }

    pub(super) fn with(self, more: impl IntoIterator<Item = String>) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::These(mut labels) => {
                labels.extend(more);
                Self::These(labels)
            }
        }
    }

    fn without(self, less: &[String]) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::These(mut labels) => {
                labels.retain(|label| !less.contains(label));
                Self::These(labels)
            }
        }
    }

    /// Refuses the first of `labels` that is not here.
    fn expect(&self, labels: &[String]) -> Result<(), Fault> {
        let Self::These(known) = self else {
            return Ok(());
        };
        match labels.iter().find(|label| !known.contains(*label)) {
            None => Ok(()),
            Some(label) => Err(Fault::NoLabel {
                label: label.clone(),
                known: known.iter().cloned().collect::<Vec<_>>().join(", "),
                nearest: nearest(label, known.iter()),
            }),
        }
    }
}

/// What an expression yields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(super) labels: Labels,
    /// None where anything fits: a literal number.
    pub(super) unit: Option<Unit>,
    /// What the buckets measure, of a result that still has buckets.
    pub(super) measured: Option<Unit>,
    /// One number rather than a vector.
    scalar: bool,
    /// Cannot be zero where it is there at all.
    never_zero: bool,
    /// A quantile of nothing is not a number.
    may_be_nan: bool,
    /// The metric, of a rate that is not yet summed.
    rate_of: Option<String>,
}

impl Shape {
    pub(super) fn vector(labels: Labels, unit: Option<Unit>) -> Self {
        Self {
            labels,
            unit,
            measured: None,
            scalar: false,
            never_zero: false,
            may_be_nan: false,
            rate_of: None,
        }
    }

    /// What is recorded under one name by two rules.
    pub(super) fn or(self, other: Self) -> Self {
        let unit = self.unit.filter(|unit| other.unit == Some(*unit));
        let labels = match other.labels {
            Labels::Any => Labels::Any,
            Labels::These(labels) => self.labels.with(labels),
        };
        Self::vector(labels, unit)
    }

    fn scalar(unit: Option<Unit>) -> Self {
        Self {
            scalar: true,
            ..Self::vector(Labels::none(), unit)
        }
    }

    fn number(value: f64) -> Self {
        Self {
            never_zero: value.abs() > 0.0,
            ..Self::scalar(None)
        }
    }

    fn in_unit(self, unit: Option<Unit>) -> Self {
        Self { unit, ..self }
    }
}

/// What `query` yields, if nothing is wrong with it.
pub(super) fn check(query: &str, catalogue: &Catalogue, rigour: Rigour) -> Result<Shape, Fault> {
    let parsed = promql_parser::parser::parse(&filled(query)).map_err(Fault::Syntax)?;
    let shape = Reader { catalogue, rigour }.shape(&parsed)?;
    if shape.may_be_nan && rigour == Rigour::Panel {
        return Err(Fault::MayBeNan);
    }
    Ok(shape)
}

/// The query with Grafana's own variables filled in.
pub(super) fn filled(query: &str) -> String {
    FILLED
        .iter()
        .fold(query.to_owned(), |query, (variable, value)| {
            query.replace(variable, value)
        })
}

/// For each selector of a query, the jobs of which at least one must be scraped for it to have
/// series; none where that cannot be said.
pub(super) fn needs_one_of(query: &str, catalogue: &Catalogue) -> Vec<Vec<String>> {
    asked(query, catalogue)
        .into_iter()
        .map(|asked| asked.jobs)
        .collect()
}

/// The names of the series that a query asks for.
pub(super) fn series_in(query: &str, catalogue: &Catalogue) -> Vec<String> {
    asked(query, catalogue)
        .into_iter()
        .flat_map(|asked| asked.names)
        .collect()
}

/// What each selector of a query asks for; nothing where the query does not parse.
fn asked(query: &str, catalogue: &Catalogue) -> Vec<selector::Asked> {
    let Ok(parsed) = promql_parser::parser::parse(&filled(query)) else {
        return Vec::new();
    };
    let mut selectors = selector::Selectors {
        catalogue,
        asked: Vec::new(),
    };
    match walk_expr(&mut selectors, &parsed) {
        Ok(_) => selectors.asked,
        Err(never) => match never {},
    }
}

struct Reader<'a> {
    catalogue: &'a Catalogue,
    rigour: Rigour,
}

impl Reader<'_> {
    fn shape(&self, expr: &Expr) -> Result<Shape, Fault> {
        match expr {
            Expr::Paren(inner) => self.shape(&inner.expr),
            Expr::Unary(inner) => self.shape(&inner.expr),
            Expr::NumberLiteral(number) => Ok(Shape::number(number.val)),
            Expr::VectorSelector(selector) => self.instant(selector),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.call(call),
            Expr::Binary(binary) => self.binary(binary),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => Err(Fault::BareRange),
            Expr::StringLiteral(_) | Expr::Extension(_) => {
                Err(Fault::NotUnderstood(expr.to_string()))
            }
        }
    }

    fn aggregate(&self, aggregate: &AggregateExpr) -> Result<Shape, Fault> {
        let inner = self.shape(&aggregate.expr)?;
        let group = |labels: Labels| -> Result<Labels, Fault> {
            match &aggregate.modifier {
                None => Ok(Labels::none()),
                Some(LabelModifier::Include(by)) => {
                    labels.expect(&by.labels)?;
                    Ok(Labels::none().with(by.labels.clone()))
                }
                Some(LabelModifier::Exclude(without)) => {
                    labels.expect(&without.labels)?;
                    Ok(labels.without(&without.labels))
                }
            }
        };
        let grouped = group(inner.labels.clone())?;
        let op: TokenType = aggregate.op;
        let shape = Shape {
            rate_of: None,
            ..inner
        };
        Ok(match op.id() {
            token::T_TOPK | token::T_BOTTOMK => shape,
            token::T_COUNT | token::T_GROUP => Shape {
                never_zero: true,
                ..Shape::vector(grouped, Some(Unit::ONE))
            },
            token::T_COUNT_VALUES => return Err(Fault::NotUnderstood("count_values".to_owned())),
            _ => Shape {
                labels: grouped,
                ..shape
            },
        })
    }

    fn is_for_a_panel(&self) -> bool {
        self.rigour == Rigour::Panel
    }
}
