//! The kinds of handles that a crate can hold.

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, GaugeVec, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::family::{Family, Kind};
use super::histogram::{Histogram, HistogramVec};
use super::living::{LivingGauge, LivingIntGauge, SUBJECTS_MAX};
use super::registry::Registry;

/// A handle that can be made from an entry of the catalogue.
pub trait Instrument: Sized {
    /// What kind of number it holds.
    const KIND: Kind;

    /// Makes it and makes it known to `registry`.
    ///
    /// # Errors
    ///
    /// [`prometheus::Error`] when the name or a label is taken or is none.
    fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self>;
}

/// One handle for each value of a label whose values are known beforehand. All of them are exported
/// from the start, so that nothing is missing where nothing has happened yet.
#[derive(Debug, Clone)]
pub struct Each<M> {
    values: &'static [&'static str],
    handles: Vec<M>,
}

impl<M> Each<M> {
    /// The handle for `value`. One that the declaration does not list is counted with the last:
    /// the list ends with the one for everything else, or has all there are.
    #[must_use]
    pub fn of(&self, value: &str) -> &M {
        let known = self.values.iter().position(|known| *known == value);
        let last = self.handles.len() - 1;
        &self.handles[known.unwrap_or(last)]
    }

    fn resolve(family: &'static Family, with: impl Fn(&str) -> M) -> prometheus::Result<Self> {
        let values = family.labels.first().map_or(&[][..], |label| label.values);
        if values.is_empty() {
            let message = format!("{} lists no values for its label", family.name);
            return Err(prometheus::Error::Msg(message));
        }
        Ok(Self {
            values,
            handles: values.iter().map(|value| with(value)).collect(),
        })
    }
}

fn options(family: &Family) -> Opts {
    Opts::new(family.name, family.help())
}

fn labels(family: &Family) -> Vec<&'static str> {
    family.labels.iter().map(|label| label.name).collect()
}

fn histogram_options(family: &Family) -> HistogramOpts {
    HistogramOpts::new(family.name, family.help()).buckets(family.buckets.to_vec())
}

fn known<C: Collector + Clone + 'static>(
    collector: C,
    registry: &Registry,
) -> prometheus::Result<C> {
    registry.collect(Box::new(collector.clone()))?;
    Ok(collector)
}

macro_rules! instrument {
    ($($single:ty, $vector:ty, $kind:ident;)*) => {$(
        impl Instrument for $single {
            const KIND: Kind = Kind::$kind;

            fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self> {
                known(Self::with_opts(options(family))?, registry)
            }
        }

        impl Instrument for $vector {
            const KIND: Kind = Kind::$kind;

            fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self> {
                known(Self::new(options(family), &labels(family))?, registry)
            }
        }

        impl Instrument for Each<$single> {
            const KIND: Kind = Kind::$kind;

            fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self> {
                let vector = <$vector as Instrument>::declare(family, registry)?;
                Self::resolve(family, |value| vector.with_label_values(&[value]))
            }
        }
    )*};
}

instrument! {
    IntCounter, IntCounterVec, Counter;
    IntGauge, IntGaugeVec, Gauge;
    Gauge, GaugeVec, Gauge;
    Counter, prometheus::CounterVec, Counter;
}

impl Instrument for HistogramVec {
    const KIND: Kind = Kind::Histogram;

    fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self> {
        let vector = prometheus::HistogramVec::new(histogram_options(family), &labels(family))?;
        Ok(Self {
            inner: known(vector, registry)?,
            family,
            table: registry.exemplar_table(family.name),
        })
    }
}

impl Instrument for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self> {
        let inner = prometheus::Histogram::with_opts(histogram_options(family))?;
        Ok(Self {
            inner: known(inner, registry)?,
            exemplars: registry
                .exemplar_table(family.name)
                .of(Vec::new(), family.buckets),
        })
    }
}

impl Instrument for Each<Histogram> {
    const KIND: Kind = Kind::Histogram;

    fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self> {
        let vector = HistogramVec::declare(family, registry)?;
        Self::resolve(family, |value| vector.with(&[value]))
    }
}

macro_rules! living {
    ($($living:ty, $vector:ty;)*) => {$(
        impl Instrument for $living {
            const KIND: Kind = Kind::Gauge;

            fn declare(family: &'static Family, registry: &Registry) -> prometheus::Result<Self> {
                let vector = <$vector as Instrument>::declare(family, registry)?;
                Ok(Self::new(vector, registry.bounded(family.name, SUBJECTS_MAX)))
            }
        }
    )*};
}

living! {
    LivingGauge, GaugeVec;
    LivingIntGauge, IntGaugeVec;
}
