//! What functions make of their arguments.

use promql_parser::parser::{Call, Expr};

use super::{Fault, Labels, Reader, Shape};
use crate::dashboards::unit::Unit;

/// A range, as the argument of a function.
struct Range {
    /// Where it is of a metric, and not of a subquery.
    metric: Option<String>,
    counts: bool,
    shape: Shape,
}

impl Reader<'_> {
    pub(super) fn call(&self, call: &Call) -> Result<Shape, Fault> {
        let args: Vec<&Expr> = call.args.args.iter().map(|arg| &**arg).collect();
        let first = || {
            args.first()
                .copied()
                .ok_or_else(|| Fault::NotUnderstood(call.to_string()))
        };
        let last = || {
            args.last()
                .copied()
                .ok_or_else(|| Fault::NotUnderstood(call.to_string()))
        };
        let name = call.func.name;
        match name {
            "rate" | "increase" => self.of_counter(name, first()?),
            "deriv" | "delta" | "predict_linear" | "changes" => self.of_gauge(name, first()?),
            name if name.ends_with("_over_time") => self.of_gauge(name, last()?),
            "histogram_quantile" => self.quantile(last()?),
            "clamp_min" => {
                let raises = args.last().is_some_and(|least| is_above_zero(least));
                let shape = self.shape(first()?)?;
                Ok(Shape {
                    never_zero: shape.never_zero || raises,
                    ..shape
                })
            }
            "abs" | "ceil" | "floor" | "round" | "clamp" | "clamp_max" | "sort" | "sort_desc" => {
                self.shape(first()?)
            }
            "scalar" => Ok(Shape {
                scalar: true,
                labels: Labels::none(),
                ..self.shape(first()?)?
            }),
            "vector" => Ok(Shape {
                scalar: false,
                ..self.shape(first()?)?
            }),
            "time" => Ok(Shape::scalar(Some(Unit::SECONDS))),
            "timestamp" => Ok(self.shape(first()?)?.in_unit(Some(Unit::SECONDS))),
            "absent" => {
                let shape = self.shape(first()?)?;
                Ok(Shape::vector(shape.labels, Some(Unit::ONE)))
            }
            "label_replace" | "label_join" => {
                let Some(Expr::StringLiteral(made)) = args.get(1).copied() else {
                    return Err(Fault::NotUnderstood(call.to_string()));
                };
                let shape = self.shape(first()?)?;
                let labels = shape.labels.clone().with([made.val.clone()]);
                Ok(Shape { labels, ..shape })
            }
            name => Err(Fault::NotUnderstood(format!("{name}()"))),
        }
    }

    fn of_counter(&self, function: &str, arg: &Expr) -> Result<Shape, Fault> {
        let range = self.range(arg)?;
        if let Some(metric) = range
            .metric
            .as_ref()
            .filter(|_| !range.counts && self.is_for_a_panel())
        {
            return Err(Fault::GaugeAsCounter {
                metric: metric.clone(),
                function: function.to_owned(),
            });
        }
        let unit = match function {
            "rate" => range.shape.unit.map(|unit| unit.per(Unit::SECONDS)),
            _ => range.shape.unit,
        };
        Ok(Shape {
            rate_of: range.metric,
            ..range.shape.in_unit(unit)
        })
    }

    fn of_gauge(&self, function: &str, arg: &Expr) -> Result<Shape, Fault> {
        let range = self.range(arg)?;
        if let Some(metric) = range
            .metric
            .filter(|_| range.counts && self.is_for_a_panel())
        {
            return Err(Fault::CounterAsGauge {
                metric,
                function: function.to_owned(),
            });
        }
        let unit = match function {
            "deriv" => range.shape.unit.map(|unit| unit.per(Unit::SECONDS)),
            "changes" | "count_over_time" | "present_over_time" => Some(Unit::ONE),
            _ => range.shape.unit,
        };
        Ok(range.shape.in_unit(unit))
    }

    fn quantile(&self, arg: &Expr) -> Result<Shape, Fault> {
        let buckets = self.shape(arg)?;
        let of_a_rate = buckets.labels.has("le") && buckets.measured.is_some();
        if !of_a_rate && self.is_for_a_panel() {
            return Err(Fault::NoBuckets);
        }
        Ok(Shape {
            may_be_nan: true,
            ..Shape::vector(buckets.labels.without(&["le".to_owned()]), buckets.measured)
        })
    }

    fn range(&self, arg: &Expr) -> Result<Range, Fault> {
        match arg {
            Expr::Paren(inner) => self.range(&inner.expr),
            Expr::MatrixSelector(matrix) => {
                let selected = self.select(&matrix.vs)?;
                Ok(Range {
                    metric: Some(selected.name),
                    counts: selected.counts,
                    shape: selected.shape,
                })
            }
            Expr::Subquery(subquery) => {
                let shape = self.shape(&subquery.expr)?;
                Ok(Range {
                    metric: None,
                    counts: false,
                    shape,
                })
            }
            other => Err(Fault::NotUnderstood(other.to_string())),
        }
    }
}

pub(super) fn is_above_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_above_zero(&inner.expr),
        Expr::NumberLiteral(number) => number.val > 0.0,
        _ => false,
    }
}
