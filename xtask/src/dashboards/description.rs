//! What a file of grafana/panels says: a dashboard as a person writes it.
//!
//! A panel is its title, what it says, a unit, where good ends and bad begins, and a legend for
//! each query. The rest of what Grafana wants follows from these.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Number;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dashboard {
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) says: String,
    /// How far back it looks at first, such as `1h`.
    pub(super) range: String,
    /// Name → `label_values(selector, label)`.
    #[serde(default)]
    pub(super) variables: Pairs,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) title: String,
    pub(super) panels: Vec<Panel>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) kind: Kind,
    pub(super) says: String,
    /// Grafana's id; a panel without queries has none.
    pub(super) unit: Option<String>,
    /// Of the 24 columns; else by kind.
    pub(super) width: Option<u8>,
    /// Above these, look or act.
    pub(super) above: Option<Limits>,
    /// Below these, look or act.
    pub(super) below: Option<Limits>,
    /// Where the axis ends, where that is known.
    pub(super) max: Option<Number>,
    /// See [`super::links`].
    #[serde(default)]
    pub(super) links: Vec<String>,
    /// Legend → query. A legend may have labels: `{{run}}`.
    #[serde(default)]
    pub(super) queries: Pairs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The number of now, large.
    Stat,
    /// Numbers over time.
    Lines,
    /// Numbers over time, whose sum says something.
    Stacked,
    /// The number of each series now, as a bar.
    Bars,
    /// The numbers of now, with their labels as columns.
    Table,
    /// Alerts that fire or are about to.
    Alerts,
}

impl Kind {
    /// Whether it shows one moment. The last number of a stretch of time would still be shown when
    /// the process that told it is long gone.
    pub(super) fn is_of_now(self) -> bool {
        matches!(self, Self::Stat | Self::Bars | Self::Table)
    }
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) investigate: Option<Number>,
    pub(super) critical: Option<Number>,
}

impl Panel {
    pub(super) fn width(&self) -> u8 {
        self.width.unwrap_or(match self.kind {
            Kind::Stat => 4,
            Kind::Lines | Kind::Stacked | Kind::Bars => 8,
            Kind::Table | Kind::Alerts => 12,
        })
    }

    pub(super) fn height(&self) -> u8 {
        match self.kind {
            Kind::Stat => 4,
            _ => 8,
        }
    }
}

/// A map whose order is that of the file.
#[derive(Debug, Default)]
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl Pairs {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder(PhantomData<()>);

        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    pairs.push((key, value.trim_end().to_owned()));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData))
    }
}
