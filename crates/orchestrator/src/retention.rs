//! What is kept, what nobody needs any more, and how much the store may hold.
//!
//! Garbage is found by rules over the run store's facts (see [`rules`]), never by the order in which
//! things happened; so a collection that broke off is simply made again. What may be shared by a run
//! that begins this moment, the shards of a partition, is removed while nobody deals any.

mod room;
pub mod rules;
mod survey;
mod uploads;

use std::sync::{Mutex as Quick, PoisonError};
use std::time::Duration;

use artifacts::{BlobError, BlobStore};
use federation::Timestamp;
use thiserror::Error;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};
use tracing::info;

pub use room::{NoRoom, after_commit, make_room, require_room};
pub use rules::{Garbage, Held};

use crate::store::StoreError;
use crate::study::Study;
use survey::{Survey, live_shards, survey};

/// For how long a run must have ended, unless somebody asks for less: enough for a look at what went
/// wrong, and to start the next run on the same shards.
pub const GRACE: Duration = Duration::from_secs(60 * 60);

/// Shards that are removed while a run that begins waits to be dealt its own: a tenth of a second's
/// work on a local disk.
const SHARDS_AT_ONCE: usize = 1000;

/// What replays, collections and dealing share, and the budget.
#[derive(Debug, Default)]
pub struct Keeping {
    /// Bytes that the artifact store may hold; unlimited when none.
    pub budget: Option<u64>,
    /// Held by the replay that is under way.
    pub(crate) replays: Mutex<()>,
    // Held by the collection or the count that is under way.
    collecting: Mutex<()>,
    // Held for reading by who deals shards, for writing by who removes some.
    dealing: RwLock<()>,
    counted: Quick<Option<Counted>>,
}

/// How much there was at some time.
#[derive(Debug, Clone, Copy)]
struct Counted {
    at: Timestamp,
    bytes: u64,
}

impl Keeping {
    /// Keeps the store within so many bytes, or lets it grow.
    #[must_use]
    pub fn within(budget: Option<u64>) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// Keeps shards where they are until it is dropped, whoever else wants them removed.
    pub(crate) async fn dealing(&self) -> RwLockReadGuard<'_, ()> {
        self.dealing.read().await
    }

    /// Whether a collection is under way, which counts too.
    fn is_collecting(&self) -> bool {
        self.collecting.try_lock().is_err()
    }

    fn count(&self, at: Timestamp, bytes: u64) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Counted { at, bytes });
    }

    fn counted(&self) -> Option<Counted> {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wanted of a collection.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Remove it too.
    pub remove: bool,
    /// For how long a run must have ended, or an unknown one been begun.
    pub grace: Duration,
    /// Also what belongs to runs that the run store does not know. A run store that was set back to
    /// a backup knows too little, so a person decides this.
    pub unknown_runs: bool,
}

/// Objects and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub objects: u64,
    /// How large together.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// What a collection found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// What there was before, in the order of [`Held::ALL`].
    pub held: [Sum; Held::ALL.len()],
    /// What nobody needs, in the order of [`Garbage::ALL`].
    pub garbage: [Sum; Garbage::ALL.len()],
}

/// Why garbage could not be found or removed. What was removed until then stays removed.
#[derive(Debug, Error)]
pub enum CollectError {
    /// The facts cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The objects cannot be read or removed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The broken uploads cannot be read or removed.
    #[error("broken uploads cannot be looked through: {0}")]
    Uploads(#[from] std::io::Error),
}

/// Finds what nobody needs any more, and removes it if that is wanted. Waits for the collection
/// before it.
///
/// # Errors
///
/// [`CollectError`].
pub async fn collect(study: &Study, wanted: Wanted) -> Result<Collected, CollectError> {
    let _alone = study.keeping.collecting.lock().await;
    let survey = survey(study, wanted).await?;
    let total = survey.bytes();
    study.keeping.count(study.now(), total);
    if !wanted.remove {
        return Ok(survey.found());
    }
    let removed = remove(study, &survey, wanted.grace).await?;
    let bytes: u64 = removed.iter().map(|sum| sum.bytes).sum();
    let objects: u64 = removed.iter().map(|sum| sum.objects).sum();
    study
        .keeping
        .count(study.now(), total.saturating_sub(bytes));
    info!(objects, bytes, "garbage removed");
    Ok(Collected {
        garbage: removed,
        ..survey.found()
    })
}

async fn remove(
    study: &Study,
    survey: &Survey,
    grace: Duration,
) -> Result<[Sum; Garbage::ALL.len()], CollectError> {
    let mut removed = [Sum::default(); Garbage::ALL.len()];
    let metrics = &study.metrics.retention;
    let mut count = |kind: Garbage, bytes: u64| {
        metrics.removed.of(kind.as_str()).inc();
        metrics.removed_bytes.of(kind.as_str()).inc_by(bytes);
        removed[kind as usize].add(bytes);
    };
    let (shards, others): (Vec<_>, Vec<_>) = survey
        .garbage
        .iter()
        .partition(|found| found.kind == Garbage::Shards);
    for found in others {
        study.blobs.delete(&found.key).await?;
        count(found.kind, found.bytes);
    }
    for some in shards.chunks(SHARDS_AT_ONCE) {
        let _nobody_deals = study.keeping.dealing.write().await;
        // A run that began since the survey may have been dealt some of them.
        let live = live_shards(study, grace).await?;
        for found in some.iter().filter(|found| !live.contains(&found.key)) {
            study.blobs.delete(&found.key).await?;
            count(found.kind, found.bytes);
        }
    }
    for bytes in uploads::remove(&survey.uploads, study.now()).await? {
        count(Garbage::Uploads, bytes);
    }
    Ok(removed)
}
