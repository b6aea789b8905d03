//! What is counted for as long as it lasts.

use prometheus::IntGauge;

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
pub struct Raised(IntGauge);

impl Raised {
    /// Counts one more.
    #[must_use]
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}
