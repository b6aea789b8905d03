//! What can be wrong with a query, and what would be right.

use thiserror::Error;

use crate::dashboards::unit::Unit;

#[derive(Debug, Error, PartialEq, Eq)]
pub(in crate::dashboards) enum Fault {
    #[error("it does not parse: {0}")]
    Syntax(String),
    #[error("a selector must begin with the name of a metric, or have a pattern that one fits")]
    NoName,
    #[error("no metric is called {name}; the nearest is {nearest}")]
    NoMetric { name: String, nearest: String },
    #[error("{metric} has no label {label}; the nearest is {nearest}, of: {known}")]
    NoLabelOf {
        metric: String,
        label: String,
        nearest: String,
        known: String,
    },
    #[error("there is no label {label} here; the nearest is {nearest}, of: {known}")]
    NoLabel {
        label: String,
        nearest: String,
        known: String,
    },
    #[error("{label} of {metric} is never {value}; the nearest is {nearest}")]
    NoValue {
        metric: String,
        label: String,
        value: String,
        nearest: String,
    },
    #[error(
        "le=\"{0}\" is a whole number, which Prometheus 2 and 3 store differently; take an edge such as 0.2"
    )]
    WholeEdge(String),
    #[error("{0} is a histogram; take {0}_bucket, {0}_sum or {0}_count")]
    BareHistogram(String),
    #[error("{0} is a counter, whose value says nothing; take rate() or increase() of it")]
    BareCounter(String),
    #[error("{metric} is a gauge; {function}() is for counters, and deriv() or delta() for gauges")]
    GaugeAsCounter { metric: String, function: String },
    #[error(
        "{metric} is a counter; of those, only rate() and increase() say anything, not {function}()"
    )]
    CounterAsGauge { metric: String, function: String },
    #[error("a range is there without a function of it")]
    BareRange,
    #[error("histogram_quantile() needs buckets: sum by (le, …) (rate(x_bucket[…]))")]
    NoBuckets,
    #[error(
        "a quantile of no events is NaN; compare the quantile with `>= 0`, which leaves NaN out"
    )]
    MayBeNan,
    #[error("it divides by what may be 0; write `(… > 0)` or `clamp_min(…, x)` around the divisor")]
    MayDivideByZero,
    #[error("each series of {0} is divided by itself, so that the result is 1; sum both sides")]
    DividedByItself(String),
    #[error(
        "the labels of the two sides never match: ({left}) and ({right}); say on(…) or sum by the same"
    )]
    NeverMatches { left: String, right: String },
    #[error("it puts {left} and {right} together")]
    MixedUnits { left: Unit, right: Unit },
    #[error(
        "{0} is not understood here; say it otherwise, or teach it to xtask/src/dashboards/query"
    )]
    NotUnderstood(String),
}
