//! What of the store is needed, and by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use artifacts::Key;
use federation::{RunId, Timestamp};

use crate::metrics::retention as metrics;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Of a data set.
    Datasets,
    /// Of a partition.
    Shards,
    /// Of a published model.
    Models,
    /// Of a run.
    Checkpoints,
    /// Of a run's round.
    Updates,
    /// On its way, or broken off.
    Uploads,
    /// None of ours.
    Other,
}

impl Held {
    /// All, in the order in which they are counted.
    pub const ALL: [Self; 7] = [
        Self::Datasets,
        Self::Shards,
        Self::Models,
        Self::Checkpoints,
        Self::Updates,
        Self::Uploads,
        Self::Other,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        metrics::HELD[self as usize]
    }
}

/// What nobody needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbage {
    /// Of rounds that are not kept, or that will never be committed.
    Updates,
    /// Models between the first round and those that are kept.
    Checkpoints,
    /// Of partitions on which no run works.
    Shards,
    /// Of runs that the run store does not know.
    UnknownRuns,
    /// Broken off for too long to be gone on with.
    Uploads,
}

impl Garbage {
    /// All, in the order in which they are counted.
    pub const ALL: [Self; 5] = [
        Self::Updates,
        Self::Checkpoints,
        Self::Shards,
        Self::UnknownRuns,
        Self::Uploads,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        metrics::GARBAGE[self as usize]
    }
}

/// Whose an object is, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Update(RunId, u32),
    Model(RunId, u32),
    // A manifest: the record of what went into a model, and small.
    Record(RunId),
    Shard,
    Other(Held),
}

impl Place {
    pub(super) fn of(key: &Key) -> Self {
        let segments: Vec<_> = key.as_str().split('/').collect();
        let of_run = |run: &str, place: &dyn Fn(RunId) -> Self| match run.parse() {
            Ok(run) => place(run),
            Err(_not_ours) => Self::Other(Held::Other),
        };
        match segments[..] {
            ["runs", run, "rounds", ..] => of_run(run, &|run| {
                let round = key.round().map(|round| Self::Update(run, round));
                round.unwrap_or(Self::Other(Held::Other))
            }),
            ["runs", run, "checkpoints", ..] => of_run(run, &|run| {
                let model = key.model_round().map(|round| Self::Model(run, round));
                model.unwrap_or(Self::Record(run))
            }),
            ["datasets", ..] => Self::Other(Held::Datasets),
            ["models", ..] => Self::Other(Held::Models),
            ["shards", ..] => Self::Shard,
            _ => Self::Other(Held::Other),
        }
    }

    pub(super) fn held(self) -> Held {
        match self {
            Self::Update(..) => Held::Updates,
            Self::Model(..) | Self::Record(_) => Held::Checkpoints,
            Self::Shard => Held::Shards,
            Self::Other(held) => held,
        }
    }

    fn run(self) -> Option<RunId> {
        match self {
            Self::Update(run, _) | Self::Model(run, _) | Self::Record(run) => Some(run),
            Self::Shard | Self::Other(_) => None,
        }
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) committed: u32,
    pub(super) ended_at: Option<Timestamp>,
}

/// What decides.
#[derive(Debug)]
pub(super) struct Facts {
    /// Every run there is, read after the objects were listed.
    pub(super) runs: BTreeMap<RunId, Standing>,
    /// The shards on which a run works or worked lately.
    pub(super) live_shards: BTreeSet<Key>,
    pub(super) keep_rounds: u32,
    pub(super) now: Timestamp,
    pub(super) grace: Duration,
    pub(super) unknown_runs: bool,
}

impl Facts {
    /// Whether nobody needs the object at `place`, and as what it goes.
    pub(super) fn garbage(&self, key: &Key, place: Place) -> Option<Garbage> {
        let is_shard = place == Place::Shard;
        if is_shard {
            return (!self.live_shards.contains(key)).then_some(Garbage::Shards);
        }
        let run = place.run()?;
        let Some(standing) = self.runs.get(&run) else {
            let is_old = self.is_past(begun(run));
            return (self.unknown_runs && is_old).then_some(Garbage::UnknownRuns);
        };
        match place {
            Place::Update(_, round) => self
                .is_update_garbage(*standing, round)
                .then_some(Garbage::Updates),
            Place::Model(_, round) => self
                .is_model_garbage(*standing, round)
                .then_some(Garbage::Checkpoints),
            _ => None,
        }
    }

    fn is_update_garbage(&self, run: Standing, round: u32) -> bool {
        if round > run.committed {
            return self.is_over(run);
        }
        // As after a commit: the last `keep_rounds` committed rounds are kept.
        round.saturating_add(self.keep_rounds) <= run.committed
    }

    fn is_model_garbage(&self, run: Standing, round: u32) -> bool {
        if round > run.committed {
            return self.is_over(run);
        }
        // The last one is what the run goes on from, or ended with; those before it are the bases of
        // the rounds that can be replayed.
        round.saturating_add(self.keep_rounds) < run.committed
    }

    /// Whether the run has ended for long enough. Nothing is committed to it any more.
    fn is_over(&self, run: Standing) -> bool {
        run.ended_at.is_some_and(|ended_at| self.is_past(ended_at))
    }

    fn is_past(&self, time: Timestamp) -> bool {
        has_passed(time, self.grace, self.now)
    }
}

/// Whether `time` is `grace` ago.
pub(super) fn has_passed(time: Timestamp, grace: Duration, now: Timestamp) -> bool {
    time.after(grace) <= now
}

/// When a run was submitted, by its id; long ago, if the id is none of ours.
fn begun(run: RunId) -> Timestamp {
    let time = run.0.get_timestamp().map(|time| time.to_unix());
    time.map_or(Timestamp(0), |(seconds, nanos)| {
        Timestamp(seconds * 1000 + u64::from(nanos) / 1_000_000)
    })
}

#[cfg(test)]
mod tests {
    use federation::{ClientId, Digest, TaskId};
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp(10_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const UNFINISHED: RunId = RunId(Uuid::from_u128(1));
    const ENDED: RunId = RunId(Uuid::from_u128(2));
    const JUST_ENDED: RunId = RunId(Uuid::from_u128(3));
    const UNKNOWN: RunId = RunId(Uuid::from_u128(4));

    /// Three runs that have committed 10 rounds, of which 3 are kept.
    fn facts() -> Facts {
        let standing = |ended_at| Standing {
            committed: 10,
            ended_at,
        };
        Facts {
            runs: BTreeMap::from([
                (UNFINISHED, standing(None)),
                (ENDED, standing(Some(Timestamp(1_000)))),
                (JUST_ENDED, standing(Some(Timestamp(NOW.0 - 1)))),
            ]),
            live_shards: BTreeSet::new(),
            keep_rounds: 3,
            now: NOW,
            grace: HOUR,
            unknown_runs: true,
        }
    }

    fn is_garbage(facts: &Facts, key: &Key) -> bool {
        facts.garbage(key, Place::of(key)).is_some()
    }

    fn rounds_kept(run: RunId, key: impl Fn(RunId, u32) -> Key) -> Vec<u32> {
        let facts = facts();
        let kept = (0..=12).filter(|round| !is_garbage(&facts, &key(run, *round)));
        kept.collect()
    }

    fn model(run: RunId, round: u32) -> Key {
        Key::checkpoint_model(run, round, &Digest::of(b"model"))
    }

    #[test]
    fn the_updates_of_the_last_rounds_are_kept_and_of_the_open_one() {
        let key = |run, round| {
            let task = TaskId {
                run,
                round,
                client: ClientId(1),
                attempt: 1,
            };
            Key::update(&task, 1)
        };
        assert_eq!(rounds_kept(UNFINISHED, key), [8, 9, 10, 11, 12]);
        assert_eq!(rounds_kept(ENDED, key), [8, 9, 10]);
        assert_eq!(rounds_kept(JUST_ENDED, key), [8, 9, 10, 11, 12]);
        assert_eq!(rounds_kept(UNKNOWN, key), [0; 0]);
    }

    #[test]
    fn the_last_model_is_kept_and_those_from_which_kept_rounds_started() {
        let kept = |run| rounds_kept(run, model);
        assert_eq!(kept(UNFINISHED), [7, 8, 9, 10, 11, 12]);
        assert_eq!(kept(ENDED), [7, 8, 9, 10]);
    }

    #[test]
    fn what_a_model_is_made_of_is_kept_with_its_run() {
        let all: Vec<u32> = (0..=12).collect();
        assert_eq!(rounds_kept(ENDED, Key::checkpoint_manifest), all);
        assert!(is_garbage(&facts(), &Key::checkpoint_manifest(UNKNOWN, 1)));
    }

    #[test]
    fn an_unknown_run_goes_when_it_is_old_and_a_person_wants_it() {
        let young = uuid::Builder::from_unix_timestamp_millis(NOW.0 - 5, &[0; 10]).into_uuid();
        let old = uuid::Builder::from_unix_timestamp_millis(NOW.0 - 4_000_000, &[0; 10]);
        let key = |run: Uuid| model(RunId(run), 0);
        let old = key(old.into_uuid());
        assert!(is_garbage(&facts(), &old));
        assert!(!is_garbage(&facts(), &key(young)));
        let by_itself = Facts {
            unknown_runs: false,
            ..facts()
        };
        assert!(!is_garbage(&by_itself, &old));
    }

    #[test]
    fn data_sets_models_and_what_is_not_ours_stay() {
        let digest = Digest::of(b"pangea");
        let others = ["notes/a", "runs/r/rounds/00001/updates/a", "runs/a"];
        let mut keys: Vec<Key> = others.iter().map(|key| key.parse().unwrap()).collect();
        keys.push(Key::content(artifacts::Kind::Dataset, &digest));
        keys.push(Key::content(artifacts::Kind::Model, &digest));
        for key in keys {
            assert!(!is_garbage(&facts(), &key), "{key}");
        }
    }

    #[test]
    fn a_shard_goes_when_no_run_works_on_it() {
        let key = Key::content(artifacts::Kind::Shard, &Digest::of(b"pangea"));
        assert!(is_garbage(&facts(), &key));
        let in_use = Facts {
            live_shards: BTreeSet::from([key.clone()]),
            ..facts()
        };
        assert!(!is_garbage(&in_use, &key));
    }

    #[test]
    fn every_kind_has_its_word() {
        for (kind, word) in Held::ALL.iter().zip(metrics::HELD) {
            assert_eq!(format!("{kind:?}").to_lowercase(), word);
        }
        for (kind, word) in Garbage::ALL.iter().zip(metrics::GARBAGE) {
            let told = format!("{kind:?}").to_lowercase();
            assert_eq!(told, word.replace('_', ""));
        }
    }
}
