//! One entry of the catalogue.

/// A metric as the catalogue has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// Its name for Prometheus.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its help text, with the blanks of the doc comment that it was; see [`Family::help`].
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// Upper edges of a histogram's buckets, rising; none for other kinds.
    pub buckets: &'static [f64],
    /// Other names under which the same numbers are exported.
    pub aliases: &'static [&'static str],
    /// The rows of the guides that want it, such as `S0-28 S1-7`.
    pub rows: &'static str,
    /// The field that holds its handle.
    pub field: &'static str,
    /// The crate that produces it.
    pub crate_name: &'static str,
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// A label and what it may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All that it may say, where that is known beforehand.
    pub values: &'static [&'static str],
}

/// What a metric is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    Seconds,
    /// Data.
    Bytes,
    /// A share, from 0 to 1.
    Ratio,
    /// Things.
    Count,
}

impl Family {
    /// The help text as one line.
    #[must_use]
    pub fn help(&self) -> String {
        self.help.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The unit, which the name tells.
    #[must_use]
    pub fn unit(&self) -> Unit {
        let stem = self.name.strip_suffix("_total").unwrap_or(self.name);
        let words: Vec<_> = stem.split('_').collect();
        if words.contains(&"seconds") {
            Unit::Seconds
        } else if words.contains(&"bytes") {
            Unit::Bytes
        } else if words.last() == Some(&"ratio") {
            Unit::Ratio
        } else {
            Unit::Count
        }
    }
}

impl Kind {
    /// The word of the exposition formats.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Unit {
    /// As in a name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
            Self::Count => "count",
        }
    }
}
