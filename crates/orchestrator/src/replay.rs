//! A committed round once more: its model is made again of what is stored, and compared.
//!
//! Reads what the round's manifest names and nothing that a run in work writes, folds with the
//! production code into the spool, and leaves nothing there.

use std::collections::BTreeSet;
use std::time::Duration;

use artifacts::{BlobError, BlobStore, InvalidKey, Key};
use federation::acceptance::Refusal;
use federation::{ClientId, Digest, RunId};
use tempfile::NamedTempFile;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::aggregate::{AggregateError, fold_into};
use crate::checkpoint::{self, CheckpointError, Manifest};
use crate::store::{Receipt, RunRow, StoreError};
use crate::study::Study;
use crate::updates::first_damaged;

/// What came of a replay.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Of the round's model file, by its manifest.
    pub recorded: Digest,
    /// Of the model file that was made now.
    pub replayed: Digest,
    /// Of the model file that both started from.
    pub base: Digest,
    /// What went into it, by client, with the weights of the manifest.
    pub updates: Vec<Receipt>,
    /// How long it took.
    pub duration: Duration,
}

impl Replayed {
    /// Whether the same model came of it.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.recorded == self.replayed
    }
}

/// Why a round was not replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// There is no model to compare with.
    #[error(
        "round {round} of run {run} is not committed; its rounds from 1 to {committed} are{}",
        if *.round == 0 { ", and round 0 is the initial model" } else { "" }
    )]
    NotCommitted {
        /// Which run.
        run: RunId,
        /// Which round.
        round: u32,
        /// The last one that is.
        committed: u32,
    },
    /// Retention removed what it needs.
    #[error(
        "round {round} cannot be replayed: {what} gone, as updates are kept for {keep_rounds} \
         rounds; {}; to keep those of later rounds for longer, raise runs.keep_rounds in the \
         orchestrator's settings",
        in_words(.replayable)
    )]
    Gone {
        /// Which round.
        round: u32,
        /// What is missing, with its verb.
        what: &'static str,
        /// As it is set.
        keep_rounds: u32,
        /// The rounds of the run that can be replayed.
        replayable: Vec<u32>,
    },
    /// An update is not any more what was accepted.
    #[error("round {round} cannot be replayed: the update of {client} is damaged: {refusal}")]
    Damaged {
        /// Which round.
        round: u32,
        /// Whose update.
        client: ClientId,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// The manifest does not agree with what stands beside it.
    #[error("the manifest of round {round} names {what}, which the record does not have")]
    Record {
        /// Which round.
        round: u32,
        /// What it names.
        what: String,
    },
    /// The run store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The objects cannot be listed, or read now.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A receipt has a key that is none.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The spool takes no file.
    #[error("no file can be made in the spool: {0}")]
    Spool(std::io::Error),
    /// The updates cannot be folded.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
}

/// Makes the model of `round` again and compares it with the one that was committed. Waits for the
/// replay before it; stops within a tile when it is dropped.
///
/// # Errors
///
/// [`ReplayError`].
pub async fn replay(study: &Study, run: &RunRow, round: u32) -> Result<Replayed, ReplayError> {
    let _turn = study.keeping.replays.lock().await;
    let begun = study.now();
    if round == 0 || round > run.rounds_committed {
        return Err(ReplayError::NotCommitted {
            run: run.run,
            round,
            committed: run.rounds_committed,
        });
    }
    let (manifest, base, updates) = match Stored::find(study, run.run).await?.of(round).await? {
        Kept::All(manifest, base, updates) => (*manifest, *base, updates),
        Kept::Without(what) => return Err(gone(study, run, round, what).await?),
    };
    let made = match make(study, &base, round, &updates).await {
        Ok(made) => made,
        Err(error) => {
            // A commit in the meantime may have taken what was there.
            let now = Stored::find(study, run.run).await?.of(round).await?;
            return Err(match now {
                Kept::Without(what) => gone(study, run, round, what).await?,
                Kept::All(..) => error,
            });
        }
    };
    Ok(Replayed {
        recorded: manifest.model.digest,
        replayed: made,
        base: base.model.digest,
        updates,
        duration: study.now().since(begun),
    })
}

/// Makes the model and gives its digest, when all that goes into it is what it was.
async fn make(
    study: &Study,
    base: &Manifest,
    round: u32,
    updates: &[Receipt],
) -> Result<Digest, ReplayError> {
    checkpoint::verify(&study.blobs, &base.model).await?;
    check(study, updates).await?;
    let output = NamedTempFile::new_in(&study.spool).map_err(ReplayError::Spool)?;
    let output = output.into_temp_path();
    let stop = CancellationToken::new();
    // The fold is on other threads; they must hear of it when nobody waits any more.
    let _leaving = stop.clone().drop_guard();
    let made = fold_into(study, base, round, updates, &output, &stop).await?;
    Ok(made.model.digest)
}

/// Makes sure that all updates are still what was accepted.
async fn check(study: &Study, receipts: &[Receipt]) -> Result<(), ReplayError> {
    let updates = receipts
        .iter()
        .map(Receipt::update)
        .collect::<Result<Vec<_>, _>>()?;
    match first_damaged(&study.blobs, &updates).await? {
        None => Ok(()),
        Some((number, refusal)) => Err(ReplayError::Damaged {
            round: receipts[number].round,
            client: receipts[number].client,
            refusal,
        }),
    }
}

async fn gone(
    study: &Study,
    run: &RunRow,
    round: u32,
    what: &'static str,
) -> Result<ReplayError, ReplayError> {
    let stored = Stored::find(study, run.run).await?;
    let mut replayable = Vec::new();
    for other in stored.rounds_with_updates() {
        if other <= run.rounds_committed && matches!(stored.of(other).await?, Kept::All(..)) {
            replayable.push(other);
        }
    }
    Ok(ReplayError::Gone {
        round,
        what,
        keep_rounds: study.keep_rounds,
        replayable,
    })
}

/// The objects of a run.
struct Stored<'a> {
    study: &'a Study,
    run: RunId,
    keys: BTreeSet<Key>,
}

/// What there is of a round.
enum Kept {
    /// Its manifest, the one before it, and its updates by client.
    All(Box<Manifest>, Box<Manifest>, Vec<Receipt>),
    /// Something is missing, said with its verb.
    Without(&'static str),
}

impl<'a> Stored<'a> {
    async fn find(study: &'a Study, run: RunId) -> Result<Self, BlobError> {
        let keys = study.blobs.list(&format!("runs/{run}/")).await?;
        Ok(Self {
            study,
            run,
            keys: keys.into_iter().collect(),
        })
    }

    fn rounds_with_updates(&self) -> BTreeSet<u32> {
        self.keys.iter().filter_map(Key::round).collect()
    }

    async fn of(&self, round: u32) -> Result<Kept, ReplayError> {
        let (blobs, run) = (&self.study.blobs, self.run);
        let Some(manifest) = checkpoint::manifest(blobs, run, round).await? else {
            return Ok(Kept::Without("its manifest is"));
        };
        let Some(base) = checkpoint::manifest(blobs, run, round - 1).await? else {
            return Ok(Kept::Without("the manifest of the round before is"));
        };
        let updates = self.updates(&manifest).await?;
        for update in &updates {
            if !self.keys.contains(&update.key.parse()?) {
                return Ok(Kept::Without("its updates are"));
            }
        }
        if !self.keys.contains(&base.model.parameters.key) {
            return Ok(Kept::Without("the model that it started from is"));
        }
        if manifest.parent != Some(base.model.digest) {
            let what = "another model before it".to_owned();
            return Err(ReplayError::Record { round, what });
        }
        Ok(Kept::All(Box::new(manifest), Box::new(base), updates))
    }

    /// The receipts of the updates that the manifest names, with its weights.
    async fn updates(&self, manifest: &Manifest) -> Result<Vec<Receipt>, ReplayError> {
        let round = manifest.round;
        let receipts = self.study.store.accepted(self.run, round).await?;
        let receipt = |entry: &checkpoint::UpdateEntry| {
            let found = receipts
                .iter()
                .find(|receipt| (receipt.client, receipt.digest) == (entry.client, entry.digest));
            let found = found.ok_or_else(|| ReplayError::Record {
                round,
                what: format!("an update of {}, {}", entry.client, entry.digest),
            })?;
            Ok(Receipt {
                weight: entry.weight,
                ..found.clone()
            })
        };
        manifest.updates.iter().map(receipt).collect()
    }
}

/// Which rounds can be replayed, for a person.
fn in_words(replayable: &[u32]) -> String {
    match replayable {
        [] => "no round of this run can be replayed".to_owned(),
        [round] => format!("round {round} can be replayed"),
        rounds => {
            let rounds: Vec<_> = rounds.iter().map(ToString::to_string).collect();
            format!("rounds {} can be replayed", rounds.join(", "))
        }
    }
}
