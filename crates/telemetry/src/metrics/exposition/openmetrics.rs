//! OpenMetrics 1.0.
//!
//! # Source
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::collections::HashSet;
use std::fmt::{self, Write};

use prometheus::Error;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use crate::metrics::family::Unit;
use crate::metrics::registry::Snapshot;
use crate::metrics::{Exemplar, Kind};

/// What one line of a family takes, roughly; saves growing the text on the way.
const LINE_BYTES: usize = 96;

pub(super) fn encode(snapshot: &Snapshot) -> Result<String, Error> {
    let families = &snapshot.families;
    let titles = titles(families)?;
    let lines: usize = families.iter().map(lines).sum();
    let mut page = Page {
        text: String::with_capacity(lines * LINE_BYTES),
        labels: String::new(),
    };
    for (family, title) in families.iter().zip(titles) {
        page.family(snapshot, family, &title)
            .map_err(|error| Error::Msg(format!("{}: {error}", family.name())))?;
    }
    page.text.push_str("# EOF\n");
    Ok(page.text)
}

fn lines(family: &MetricFamily) -> usize {
    let per_series = |metric: &Metric| match family.get_field_type() {
        MetricType::HISTOGRAM => metric.get_histogram().get_bucket().len() + 3,
        _ => 1,
    };
    3 + family.get_metric().iter().map(per_series).sum::<usize>()
}

/// What a family is called and what it is said to be. Its samples keep their own names.
struct Title<'a> {
    name: &'a str,
    kind: &'static str,
}

/// A counter is called by its samples' name without `_total`. Where that is taken, or where there
/// is no `_total` to leave out, its kind stays unsaid: a sample would otherwise need another name
/// than in the text format.
fn titles(families: &[MetricFamily]) -> Result<Vec<Title<'_>>, Error> {
    let mut kinds = Vec::with_capacity(families.len());
    let mut taken = HashSet::new();
    for family in families {
        let kind = kind(family)?;
        if kind != Kind::Counter {
            taken.extend(names_of(family.name(), kind));
        }
        kinds.push(kind);
    }
    let titles = families.iter().zip(kinds).map(|(family, kind)| {
        let name = family.name();
        if kind != Kind::Counter {
            let kind = kind.as_str();
            return Title { name, kind };
        }
        let free = |name: &str| names_of(name, kind).iter().all(|own| !taken.contains(own));
        let Some(stem) = name.strip_suffix("_total").filter(|stem| free(stem)) else {
            let kind = "unknown";
            return Title { name, kind };
        };
        taken.extend(names_of(stem, kind));
        let kind = kind.as_str();
        Title { name: stem, kind }
    });
    Ok(titles.collect())
}

fn kind(family: &MetricFamily) -> Result<Kind, Error> {
    match family.get_field_type() {
        MetricType::COUNTER => Ok(Kind::Counter),
        MetricType::GAUGE => Ok(Kind::Gauge),
        MetricType::HISTOGRAM => Ok(Kind::Histogram),
        other => Err(Error::Msg(format!(
            "{} is a {other:?}; must be a counter, a gauge or a histogram",
            family.name()
        ))),
    }
}

/// The names that a family takes from all others.
fn names_of(name: &str, kind: Kind) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        Kind::Counter => &["", "_total", "_created"],
        Kind::Gauge => &[""],
        Kind::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
    };
    let own = suffixes.iter().map(|suffix| format!("{name}{suffix}"));
    own.collect()
}

struct Page {
    text: String,
    /// Those of the series that is being written, without braces.
    labels: String,
}

impl Page {
    fn family(
        &mut self,
        snapshot: &Snapshot,
        family: &MetricFamily,
        title: &Title<'_>,
    ) -> fmt::Result {
        let Title { name, kind } = title;
        writeln!(self.text, "# TYPE {name} {kind}")?;
        if let Some(unit) = unit(name) {
            writeln!(self.text, "# UNIT {name} {unit}")?;
        }
        if !family.help().is_empty() {
            write!(self.text, "# HELP {name} ")?;
            escape(&mut self.text, family.help());
            self.text.push('\n');
        }
        let sample = family.name();
        for metric in family.get_metric() {
            self.take_labels(metric.get_label());
            match family.get_field_type() {
                MetricType::HISTOGRAM => {
                    let exemplars = snapshot.exemplars(sample, metric);
                    self.histogram(sample, metric, &exemplars)?;
                }
                MetricType::COUNTER => self.number(sample, "", metric.get_counter().get_value())?,
                _ => self.number(sample, "", metric.get_gauge().get_value())?,
            }
        }
        Ok(())
    }

    fn take_labels(&mut self, labels: &[LabelPair]) {
        self.labels.clear();
        for label in labels {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(label.name());
            self.labels.push_str("=\"");
            escape(&mut self.labels, label.value());
            self.labels.push('"');
        }
    }

    fn histogram(
        &mut self,
        name: &str,
        metric: &Metric,
        exemplars: &[Option<Exemplar>],
    ) -> fmt::Result {
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count();
        let edges = histogram.get_bucket().iter();
        let buckets = edges
            .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
            .chain([(f64::INFINITY, count)]);
        for (at, (edge, count)) in buckets.enumerate() {
            self.bucket(name, edge, count)?;
            if let Some(Some(exemplar)) = exemplars.get(at) {
                self.exemplar(exemplar)?;
            }
            self.text.push('\n');
        }
        self.number(name, "_sum", histogram.get_sample_sum())?;
        self.sample(name, "_count");
        writeln!(self.text, "{count}")
    }

    fn bucket(&mut self, name: &str, edge: f64, count: u64) -> fmt::Result {
        self.text.push_str(name);
        self.text.push_str("_bucket{");
        if !self.labels.is_empty() {
            self.text.push_str(&self.labels);
            self.text.push(',');
        }
        self.text.push_str("le=\"");
        float(&mut self.text, edge)?;
        write!(self.text, "\"}} {count}")
    }

    fn exemplar(&mut self, exemplar: &Exemplar) -> fmt::Result {
        let trace = u128::from_be_bytes(exemplar.trace);
        let span = u64::from_be_bytes(exemplar.span);
        write!(
            self.text,
            " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} "
        )?;
        float(&mut self.text, exemplar.value)
    }

    fn number(&mut self, name: &str, suffix: &str, value: f64) -> fmt::Result {
        self.sample(name, suffix);
        float(&mut self.text, value)?;
        self.text.push('\n');
        Ok(())
    }

    /// A line up to its number.
    fn sample(&mut self, name: &str, suffix: &str) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        if !self.labels.is_empty() {
            self.text.push('{');
            self.text.push_str(&self.labels);
            self.text.push('}');
        }
        self.text.push(' ');
    }
}

/// A unit may only be told where the name ends in it.
fn unit(name: &str) -> Option<&'static str> {
    let (_, last) = name.rsplit_once('_')?;
    [Unit::Seconds, Unit::Bytes, Unit::Ratio]
        .map(Unit::as_str)
        .into_iter()
        .find(|unit| *unit == last)
}

fn escape(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' | '"' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            _ => text.push(c),
        }
    }
}

/// A number in its canonical form, which is Go's `%g` with `.0` where nothing else tells that it is
/// no whole number: `1.0`, `0.25`, `1e+06`, `+Inf`.
fn float(text: &mut String, value: f64) -> fmt::Result {
    /// Go writes an exponent outside of this.
    const PLAIN: std::ops::Range<f64> = 1e-4..1e6;

    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value == 0.0 || PLAIN.contains(&value.abs()) {
        write!(text, "{value:?}")?;
    } else {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').ok_or(fmt::Error)?;
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        write!(text, "{digits}e{sign}{exponent:0>2}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_canonical() {
        let canonical = [
            (0.0, "0.0"),
            (0.001, "0.001"),
            (0.25, "0.25"),
            (1.0, "1.0"),
            (-3.0, "-3.0"),
            (100_000.0, "100000.0"),
            (123_456.75, "123456.75"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1e10, "1e+10"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (-2.5e-10, "-2.5e-10"),
            (1.5e300, "1.5e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in canonical {
            let mut text = String::new();
            float(&mut text, value).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn what_would_end_a_value_is_escaped() {
        let mut text = String::new();
        escape(&mut text, "a\\b\"c\nd\\");
        assert_eq!(text, "a\\\\b\\\"c\\nd\\\\");
    }
}
