//! All that one service counts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{IntCounter, IntCounterVec};

use super::bounded::Bounded;
use super::build;
use super::exemplars::{Exemplar, ExemplarTable};
use super::family::Family;
use super::instrument::{Each, Instrument};

crate::metrics! {
    /// What every registry counts about what it was given.
    pub(super) struct Own {
        /// Label values that came after the bound of their metric and are counted as `__other__`.
        pub label_overflow: IntCounterVec = "telemetry_label_overflow_total" {metric};
        /// Input to telemetry that could not be used, by what it was.
        pub bad_input: Each<IntCounter> = "telemetry_bad_input_total"
            {kind in ["traceparent", "setting", "endpoint", "dsn"]};
    }
}

/// Which input to telemetry could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadInput {
    /// The place in a trace that a caller told.
    Traceparent,
    /// A variable of the environment.
    Setting,
    /// Where traces and logs should go.
    Endpoint,
    /// Where errors should go.
    Dsn,
}

/// What a service counts. Clones share it.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

type OnScrape = Box<dyn Fn() + Send + Sync>;

struct Inner {
    service: &'static str,
    prometheus: prometheus::Registry,
    families: RwLock<Vec<&'static Family>>,
    exemplars: RwLock<HashMap<&'static str, Arc<ExemplarTable>>>,
    on_scrape: RwLock<Vec<OnScrape>>,
    own: OnceLock<Own>,
}

/// All numbers of a registry at one moment. Encoding it holds no lock.
#[derive(Debug)]
pub struct Snapshot {
    /// Families by name, those under other names included.
    pub families: Vec<MetricFamily>,
    exemplars: HashMap<String, Arc<ExemplarTable>>,
}

impl Registry {
    /// Of `service`, with its build information.
    ///
    /// # Errors
    ///
    /// What Prometheus says to a name that it does not take.
    pub fn new(service: &'static str) -> prometheus::Result<Self> {
        let this = Self(Arc::new(Inner {
            service,
            prometheus: prometheus::Registry::new(),
            families: RwLock::default(),
            exemplars: RwLock::default(),
            on_scrape: RwLock::default(),
            own: OnceLock::new(),
        }));
        this.list(&build::FAMILY);
        this.collect(Box::new(build::info(service)?))?;
        let own = Own::register(&this)?;
        // The first and only one.
        drop(this.0.own.set(own));
        Ok(this)
    }

    /// Whose numbers these are.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// Makes an entry of the catalogue and lists it; for [`metrics!`](crate::metrics!).
    ///
    /// # Errors
    ///
    /// What Prometheus says to a name or a label that it does not take.
    pub fn add<I: Instrument>(
        &self,
        family: Option<&'static Family>,
        field: &str,
    ) -> prometheus::Result<I> {
        let Some(family) = family else {
            return Err(prometheus::Error::Msg(format!("{field} is not declared")));
        };
        let instrument = I::declare(family, self)?;
        self.list(family);
        Ok(instrument)
    }

    /// Lists a family that something else than a handle of ours produces.
    pub fn list(&self, family: &'static Family) {
        write(&self.0.families).push(family);
    }

    /// Takes numbers from `collector`, whose families are [listed](Self::list) besides.
    ///
    /// # Errors
    ///
    /// What Prometheus says to a name that it does not take.
    pub fn collect(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.0.prometheus.register(collector)
    }

    /// Has `look` bring gauges up to date before each scrape.
    pub fn on_scrape(&self, look: impl Fn() + Send + Sync + 'static) {
        write(&self.0.on_scrape).push(Box::new(look));
    }

    /// All that is listed.
    #[must_use]
    pub fn families(&self) -> Vec<&'static Family> {
        read(&self.0.families).clone()
    }

    /// Names for a label whose values come from outside, at most `max` of them.
    #[must_use]
    pub fn bounded(&self, metric: &'static str, max: usize) -> Bounded {
        let overflow = self.0.own.get().map(|own| &own.label_overflow);
        let counter = overflow.map(|overflow| overflow.with_label_values(&[metric]));
        Bounded::new(max, counter)
    }

    /// Counts input that could not be used.
    pub fn count_bad(&self, input: BadInput) {
        if let Some(own) = self.0.own.get() {
            own.bad_input.of(input.as_str()).inc();
        }
    }

    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        for look in read(&self.0.on_scrape).iter() {
            look();
        }
        let mut families = self.0.prometheus.gather();
        let listed = self.families();
        let mut renamed = Vec::new();
        for family in &families {
            let entry = listed.iter().find(|entry| entry.name == family.name());
            for alias in entry.map_or(&[][..], |entry| entry.aliases) {
                let mut copy = family.clone();
                copy.set_name((*alias).to_owned());
                renamed.push(copy);
            }
        }
        families.extend(renamed);
        families.sort_by(|one, other| one.name().cmp(other.name()));
        Snapshot {
            families,
            exemplars: self.exemplars_by_name(&listed),
        }
    }

    pub(super) fn exemplar_table(&self, family: &'static str) -> Arc<ExemplarTable> {
        Arc::clone(write(&self.0.exemplars).entry(family).or_default())
    }

    fn exemplars_by_name(&self, listed: &[&Family]) -> HashMap<String, Arc<ExemplarTable>> {
        let tables = read(&self.0.exemplars);
        let mut by_name = HashMap::new();
        for family in listed {
            if let Some(table) = tables.get(family.name) {
                for name in std::iter::once(&family.name).chain(family.aliases) {
                    by_name.insert((*name).to_owned(), Arc::clone(table));
                }
            }
        }
        by_name
    }
}

impl Snapshot {
    /// The exemplars of one histogram, by bucket; the last is above all edges.
    #[must_use]
    pub fn exemplars(&self, family: &str, series: &Metric) -> Vec<Option<Exemplar>> {
        let Some(table) = self.exemplars.get(family) else {
            return Vec::new();
        };
        let values: Vec<_> = series
            .get_label()
            .iter()
            .map(|label| label.value().to_owned())
            .collect();
        table
            .get(&values)
            .map_or_else(Vec::new, |exemplars| exemplars.read())
    }
}

impl BadInput {
    fn as_str(self) -> &'static str {
        match self {
            Self::Traceparent => "traceparent",
            Self::Setting => "setting",
            Self::Endpoint => "endpoint",
            Self::Dsn => "dsn",
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.0.service).finish()
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
