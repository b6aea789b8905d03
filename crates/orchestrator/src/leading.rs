//! Of several orchestrators at one PostgreSQL, one leads: standing by until it is this one, and
//! leading for as long as nobody else does.

use std::time::Duration;

use tracing::{info, warn};

use crate::store::{Standing, StoreError};
use crate::study::Study;

/// How a leader says that it leads.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Who it is, the same each time it starts.
    pub holder: String,
    /// How long it leads without saying so again.
    pub ttl: Duration,
}

impl Lease {
    /// Between two times of saying so: two of them may get lost.
    fn pace(&self) -> Duration {
        self.ttl / 3
    }
}

/// Returns when this orchestrator leads.
pub async fn stand_by(study: &Study, lease: &Lease) {
    let mut told = None;
    loop {
        let pause = match study
            .store
            .lead(&lease.holder, lease.ttl, study.now())
            .await
        {
            Ok(Standing::Leads(_)) => {
                study.metrics.store.leads.set(1);
                return;
            }
            Ok(Standing::StandsBy { leader, left }) => {
                if told.as_ref() != Some(&leader) {
                    info!(leader, "another orchestrator leads; this one stands by");
                    told = Some(leader);
                }
                left.min(lease.pace())
            }
            Err(error) => {
                warn!(error = %error, "the run store does not say who leads");
                lease.pace()
            }
        };
        study.clock.sleep(pause).await;
    }
}

/// Goes on leading; returns when another orchestrator does.
pub async fn keep(study: &Study, lease: &Lease) {
    loop {
        study.clock.sleep(lease.pace()).await;
        match study.store.renew(lease.ttl, study.now()).await {
            Ok(()) => {}
            Err(StoreError::Deposed { .. }) => break,
            // While the store is away nobody else leads either, and nothing can be written.
            Err(error) => warn!(error = %error, "the lease of leading is not renewed"),
        }
    }
    study.metrics.store.leads.set(0);
    warn!("another orchestrator leads");
}
