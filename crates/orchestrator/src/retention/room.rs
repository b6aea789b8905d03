//! The budget: a store that is over it is cleaned, and takes nothing new until it is within it.

use std::time::Duration;

use thiserror::Error;
use tracing::warn;

use super::{CollectError, GRACE, Wanted, collect};
use crate::study::Study;

/// How long a count is good for. What is written in that time is the error of the budget; counting
/// looks at each object.
const COUNTED_FOR: Duration = Duration::from_secs(10);

/// Why there is no room.
#[derive(Debug, Error)]
pub enum NoRoom {
    /// The store holds too much, and all of it is needed.
    #[error(
        "the artifact store holds {used} bytes, more than its budget of {budget}, and nothing of it \
         can be removed by itself; `pangea gc --older-than 0s` says what of ended runs could go; \
         otherwise lower runs.keep_rounds or raise artifacts.budget_gib in the orchestrator's settings"
    )]
    Full {
        /// Bytes that it holds.
        used: u64,
        /// Bytes that it may hold.
        budget: u64,
    },
    /// It is not known how much there is.
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// Brings the store within `budget` bytes, if it is over it: removes what nobody needs. Without a
/// budget there is always room.
///
/// # Errors
///
/// [`NoRoom`].
pub async fn make_room(study: &Study, budget: Option<u64>) -> Result<(), NoRoom> {
    let Some(budget) = budget else {
        return Ok(());
    };
    let known = study.keeping.counted();
    let is_good = |counted: &super::Counted| study.now().since(counted.at) < COUNTED_FOR;
    if let Some(counted) = known.filter(is_good) {
        return within(counted.bytes, budget);
    }
    let look = Wanted {
        remove: false,
        grace: GRACE,
        unknown_runs: false,
    };
    let found = collect(study, look).await?;
    let used: u64 = found.held.iter().map(|sum| sum.bytes).sum();
    if used <= budget {
        return Ok(());
    }
    let clean = Wanted {
        remove: true,
        ..look
    };
    let removed = collect(study, clean).await?;
    let removed: u64 = removed.garbage.iter().map(|sum| sum.bytes).sum();
    within(used.saturating_sub(removed), budget).inspect_err(|full| {
        warn!(used, budget, error = %full, "the artifact store is over its budget");
    })
}

fn within(used: u64, budget: u64) -> Result<(), NoRoom> {
    if used <= budget {
        return Ok(());
    }
    Err(NoRoom::Full { used, budget })
}

/// Refuses what would take more room, when there is none.
///
/// # Errors
///
/// [`NoRoom`].
pub async fn require_room(study: &Study) -> Result<(), NoRoom> {
    let room = make_room(study, study.keeping.budget).await;
    room.inspect_err(|error| {
        if let NoRoom::Full { .. } = error {
            study.metrics.retention.refused.inc();
        }
    })
}

/// Makes room after a commit, which stands in any case.
pub async fn after_commit(study: &Study) {
    if study.keeping.is_collecting() {
        return;
    }
    match make_room(study, study.keeping.budget).await {
        // What is full was told when it was counted.
        Ok(()) | Err(NoRoom::Full { .. }) => {}
        Err(NoRoom::Collect(error)) => {
            warn!(error = %error, "the artifact store was not kept within its budget");
        }
    }
}
