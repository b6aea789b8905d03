//! Where a model comes from: the model that its round started from, back to the initial one.

use federation::{Digest, RunId};
use thiserror::Error;

use crate::checkpoint::{self, CheckpointError};
use crate::store::StoreError;
use crate::study::Study;

/// Why it is not known where a model comes from.
#[derive(Debug, Error)]
pub enum LineageError {
    /// The rounds cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The initial checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// The digest of the model file that `round` started from; none while that is not made.
///
/// # Errors
///
/// [`LineageError`].
pub async fn base_of(
    study: &Study,
    run: RunId,
    round: u32,
) -> Result<Option<Digest>, LineageError> {
    // No row tells of the initial model.
    let Some(before_last) = round.checked_sub(2) else {
        let initial = checkpoint::manifest(&study.blobs, run, 0).await?;
        return Ok(initial.map(|manifest| manifest.model.digest));
    };
    let rows = study.store.rounds(run, before_last, 1).await?;
    let last = rows.into_iter().find(|row| row.number + 1 == round);
    Ok(last
        .and_then(|row| row.outcome)
        .map(|outcome| outcome.model_digest))
}
