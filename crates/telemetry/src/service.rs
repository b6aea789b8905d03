//! One service's part of telemetry.

use crate::metrics::{Error, Registry};
use crate::operations::MetricsEndpoint;
use crate::trace::{Sampler, Tracer};

/// What a service counts into and where its spans begin. Clones share both.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// What it counts.
    pub registry: Registry,
    /// Where its spans begin.
    pub tracer: Tracer,
    /// Where it shows what it counts.
    pub metrics_endpoint: MetricsEndpoint,
}

impl Telemetry {
    /// For a service that counts and keeps no spans.
    ///
    /// # Errors
    ///
    /// What Prometheus says to a name that it does not take.
    pub fn quiet(service: &'static str) -> Result<Self, Error> {
        Ok(Self {
            registry: Registry::new(service)?,
            tracer: Tracer::new(service, Sampler::none(), None),
            metrics_endpoint: MetricsEndpoint::Here,
        })
    }

    /// Whose telemetry this is.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.tracer.service()
    }
}
