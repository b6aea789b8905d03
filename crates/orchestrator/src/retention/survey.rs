//! A look at everything that the store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use artifacts::{BlobStore, Key};
use federation::job::JobSpec;
use federation::{Digest, RunId};
use futures::future::try_join_all;

use super::rules::{Facts, Garbage, Held, Place, Standing, has_passed};
use super::{CollectError, Collected, Sum, Wanted, uploads};
use crate::datasets::shards::digest_of;
use crate::store::{RunRow, StoreError};
use crate::study::Study;

/// Runs read at once.
const PAGE: u32 = 1000;

/// Objects whose size is asked for at once.
const HEADS: usize = 32;

/// An object that nobody needs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: Garbage,
    pub(super) key: Key,
    pub(super) bytes: u64,
}

/// What there is, and what of it nobody needs.
#[derive(Debug)]
pub(super) struct Survey {
    held: [Sum; Held::ALL.len()],
    pub(super) garbage: Vec<Found>,
    pub(super) uploads: Vec<uploads::Partial>,
}

impl Survey {
    /// How much there is.
    pub(super) fn bytes(&self) -> u64 {
        self.held.iter().map(|sum| sum.bytes).sum()
    }

    /// What there is of each kind.
    pub(super) fn found(&self) -> Collected {
        let mut garbage = [Sum::default(); Garbage::ALL.len()];
        for found in &self.garbage {
            garbage[found.kind as usize].add(found.bytes);
        }
        for upload in &self.uploads {
            garbage[Garbage::Uploads as usize].add(upload.bytes);
        }
        let held = self.held;
        Collected { held, garbage }
    }
}

/// Looks at everything, and shows how much there is.
pub(super) async fn survey(study: &Study, wanted: Wanted) -> Result<Survey, CollectError> {
    // The objects before the facts: a run is stored before the first of its objects, and what is
    // true of a run by now was not less true when its objects were listed.
    let keys = study.blobs.list("").await?;
    let now = study.now();
    let runs = runs(study).await?;
    let standing = |row: &RunRow| Standing {
        committed: row.rounds_committed,
        ended_at: row.finished_at,
    };
    let facts = Facts {
        live_shards: shards_of(study, &runs, wanted.grace).await?,
        runs: runs.values().map(|row| (row.run, standing(row))).collect(),
        keep_rounds: study.keep_rounds,
        now,
        grace: wanted.grace,
        unknown_runs: wanted.unknown_runs,
    };
    let mut held = [Sum::default(); Held::ALL.len()];
    let mut garbage = Vec::new();
    for keys in keys.chunks(HEADS) {
        let heads: Vec<_> = keys.iter().map(|key| study.blobs.head(key)).collect();
        for (key, bytes) in keys.iter().zip(try_join_all(heads).await?) {
            // One that went since it was listed is no more.
            let Some(bytes) = bytes else { continue };
            let place = Place::of(key);
            held[place.held() as usize].add(bytes);
            if let Some(kind) = facts.garbage(key, place) {
                let key = key.clone();
                garbage.push(Found { kind, key, bytes });
            }
        }
    }
    let (partial, broken) = uploads::find(&study.blobs, now).await?;
    held[Held::Uploads as usize] = partial;
    let survey = Survey {
        held,
        garbage,
        uploads: broken,
    };
    show(study, &survey);
    Ok(survey)
}

fn show(study: &Study, survey: &Survey) {
    let metrics = &study.metrics.retention;
    let shown = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    for (kind, sum) in Held::ALL.iter().zip(survey.held) {
        metrics.bytes.of(kind.as_str()).set(shown(sum.bytes));
    }
    let budget = study.keeping.budget.unwrap_or(0);
    metrics.budget.set(shown(budget));
}

/// The shards on which a run works, or did within the grace.
pub(super) async fn live_shards(
    study: &Study,
    grace: Duration,
) -> Result<BTreeSet<Key>, StoreError> {
    let runs = runs(study).await?;
    shards_of(study, &runs, grace).await
}

async fn shards_of(
    study: &Study,
    runs: &BTreeMap<RunId, RunRow>,
    grace: Duration,
) -> Result<BTreeSet<Key>, StoreError> {
    let now = study.now();
    let is_live = |row: &&RunRow| {
        row.finished_at
            .is_none_or(|ended_at| !has_passed(ended_at, grace, now))
    };
    let used: BTreeSet<(Digest, Option<Digest>)> =
        runs.values().filter(is_live).map(partition_of).collect();
    let mut live = BTreeSet::new();
    for row in study.store.partitions().await? {
        let is_used = used.contains(&(row.dataset, Some(row.partition)))
            || used.contains(&(row.dataset, None));
        if is_used {
            live.extend(row.shards.into_iter().map(|shard| shard.blob.key));
        }
    }
    Ok(live)
}

/// The partition on which a run works; none stands for all of its data set, when its job is one that
/// is not understood.
fn partition_of(row: &RunRow) -> (Digest, Option<Digest>) {
    let spec = JobSpec::try_from(row.job.clone());
    let partition = spec.ok().map(|spec| digest_of(&spec.partition));
    (row.dataset_digest, partition)
}

async fn runs(study: &Study) -> Result<BTreeMap<RunId, RunRow>, StoreError> {
    let mut all = BTreeMap::new();
    let mut before = None;
    loop {
        let rows = study.store.runs(before, PAGE).await?;
        let is_last = rows.len() < PAGE as usize;
        before = rows.last().map(|row| row.run);
        all.extend(rows.into_iter().map(|row| (row.run, row)));
        if is_last {
            return Ok(all);
        }
    }
}
