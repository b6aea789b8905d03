//! What a service counts: declared once, registered in a registry that is passed in, held as
//! handles, and encoded for Prometheus.

mod bounded;
mod buckets;
mod build;
mod exemplars;
pub mod exposition;
mod family;
pub mod heap;
mod histogram;
mod instrument;
pub mod lint;
mod living;
pub mod process;
mod raised;
mod registry;
pub mod runtime;

pub use bounded::{Bounded, OTHER};
pub use buckets::{ANSWER_SECONDS, BODY_BYTES};
pub use build::VERSION;
pub use exemplars::Exemplar;
pub use family::{Family, Kind, Label, Unit};
pub use histogram::{Histogram, HistogramVec, Timer};
pub use instrument::{Each, Instrument};
pub use living::{GaugeSeries, IntGaugeSeries, Living, LivingGauge, LivingIntGauge, Series};
pub use prometheus::{Error, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
pub use raised::Raised;
pub use registry::{BadInput, Registry, Snapshot};

/// Declares the metrics of a crate: each with its help text, its name, and who asked for it.
///
/// The doc comment of a field is the help text that Prometheus shows. After the name come, as far
/// as they apply: the labels, where `in` lists the values of a closed set; the buckets; other names
/// under which the same numbers are exported; and the rows of the guides that want it.
///
/// ```
/// use telemetry::metrics::{Each, Histogram, IntGauge, Registry};
///
/// telemetry::metrics! {
///     /// The metrics of a kitchen.
///     pub struct Metrics {
///         /// Pots on the fire.
///         pub pots: IntGauge = "kitchen_pots";
///         /// Time from order to plate, in seconds.
///         pub cooking: Histogram = "kitchen_cooking_duration_seconds",
///             buckets: [0.5, 60.0, 600.0], rows: "S0-24";
///         /// Plates, by how they came back.
///         pub plates: Each<telemetry::metrics::IntCounter> = "kitchen_plates_total"
///             {state in ["empty", "full"]}, aka: ["kitchen_dishes_total"];
///     }
/// }
///
/// let registry = Registry::new("kitchen")?;
/// let metrics = Metrics::register(&registry)?;
/// metrics.plates.of("empty").inc();
/// # Ok::<(), telemetry::metrics::Error>(())
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[$about:meta])*
        $visible:vis struct $metrics:ident {$(
            $(#[doc = $help:literal])+
            pub $field:ident: $instrument:ty = $name:literal
            $({ $($label:ident $(in $values:expr)?),+ $(,)? })?
            $(, buckets: $buckets:expr)?
            $(, aka: [$($alias:literal),+])?
            $(, rows: $rows:literal)?;
        )+}
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        $visible struct $metrics {$(
            $(#[doc = $help])+
            pub $field: $instrument,
        )+}

        impl $metrics {
            /// What the catalogue says of each, in the order of the fields.
            $visible const FAMILIES: &'static [$crate::metrics::Family] = &[$(
                $crate::metrics::Family {
                    name: $name,
                    kind: <$instrument as $crate::metrics::Instrument>::KIND,
                    help: concat!($($help),+),
                    labels: &[$($($crate::metrics::Label {
                        name: stringify!($label),
                        values: $crate::metrics!(@or_none $($values)?),
                    }),+)?],
                    buckets: $crate::metrics!(@or_none $($buckets)?),
                    aliases: &[$($($alias),+)?],
                    rows: concat!($($rows)?),
                    field: stringify!($field),
                    crate_name: env!("CARGO_PKG_NAME"),
                },
            )+];

            /// Makes the metrics known to `registry`.
            ///
            /// # Errors
            ///
            /// [`telemetry::metrics::Error`]($crate::metrics::Error) when a name is taken.
            $visible fn register(
                registry: &$crate::metrics::Registry,
            ) -> Result<Self, $crate::metrics::Error> {
                let mut families = Self::FAMILIES.iter();
                Ok(Self {$(
                    $field: $crate::metrics::Registry::add(registry, families.next(), stringify!($field))?,
                )+})
            }
        }
    };
    (@or_none) => { &[] };
    (@or_none $some:expr) => { &$some };
}

#[cfg(test)]
mod tests;
