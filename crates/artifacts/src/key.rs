//! Names of objects. Every place in the store is laid out here.

use std::fmt;
use std::str::FromStr;

use federation::{Digest, RunId, TaskId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest key: half of what S3 takes, so that a bucket prefix still fits.
const KEY_MAX: usize = 512;

/// Longest segment: the file name limit of the usual file systems.
const SEGMENT_MAX: usize = 255;

/// The name of an object: segments of `[a-z0-9._-]` between slashes.
///
/// No segment is empty or begins with a dot, so a key can neither leave the directory it is
/// resolved in nor reach what a store hides there. No key may be a whole-segment prefix of another
/// one, as a file and a directory cannot share a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key(String);

/// A text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("object key {text:?} {reason}")]
pub struct InvalidKey {
    /// What was given, cut at a hundred characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// What an object named by its content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A data set, as it was brought in.
    Dataset,
    /// One client's part of a data set.
    Shard,
    /// The parameters of a model.
    Model,
}

impl Key {
    /// `datasets/ab/<hex>` and the like: an object named by its digest.
    #[must_use]
    pub fn content(kind: Kind, digest: &Digest) -> Self {
        let place = match kind {
            Kind::Dataset => "datasets",
            Kind::Shard => "shards",
            Kind::Model => "models",
        };
        let hex = digest.hex();
        Self(format!("{place}/{}/{hex}", &hex[..2]))
    }

    /// `runs/<run>/rounds/00001/updates/client-0007-1-1`: what one delivery of a task gave, by the
    /// task's attempt and the delivery's epoch; so nobody overwrites what another one stored.
    #[must_use]
    pub fn update(task: &TaskId, epoch: u32) -> Self {
        let prefix = Self::round_prefix(task.run, task.round);
        Self(format!("{prefix}/updates/{}", delivery(task, epoch)))
    }

    /// `runs/<run>/rounds/00001.client-0007-1-1.bundle`: small updates of a round, one behind the
    /// other, by the delivery that gave the first of them.
    #[must_use]
    pub fn bundle(first: &TaskId, epoch: u32) -> Self {
        let prefix = Self::round_prefix(first.run, first.round);
        Self(format!("{prefix}.{}.bundle", delivery(first, epoch)))
    }

    /// `runs/<run>/checkpoints/00001.<hex>.safetensors`: the model's file by its digest, so that no
    /// late writer puts another model in the place of one that a manifest names.
    #[must_use]
    pub fn checkpoint_model(run: RunId, round: u32, digest: &Digest) -> Self {
        let hex = digest.hex();
        Self(format!(
            "runs/{run}/checkpoints/{round:05}.{hex}.safetensors"
        ))
    }

    /// `runs/<run>/checkpoints/00001.json`: the manifest, the commit point of a round.
    #[must_use]
    pub fn checkpoint_manifest(run: RunId, round: u32) -> Self {
        Self(format!("runs/{run}/checkpoints/{round:05}.json"))
    }

    /// What the keys of all updates of a run begin with.
    #[must_use]
    pub fn rounds_prefix(run: RunId) -> String {
        format!("runs/{run}/rounds/")
    }

    /// What the keys of a round's updates begin with, and perhaps those of [others](Self::round).
    #[must_use]
    pub fn round_prefix(run: RunId, round: u32) -> String {
        format!("{}{round:05}", Self::rounds_prefix(run))
    }

    /// The round of an update's key, or of a bundle's.
    #[must_use]
    pub fn round(&self) -> Option<u32> {
        self.number_in("rounds")
    }

    /// The round of the key of a checkpoint's model.
    #[must_use]
    pub fn model_round(&self) -> Option<u32> {
        let is_model = self.0.ends_with(".safetensors");
        self.number_in("checkpoints").filter(|_| is_model)
    }

    /// The round that a name under this place of a run begins with.
    fn number_in(&self, place: &str) -> Option<u32> {
        let mut segments = self.0.split('/');
        let is_there = segments.next() == Some("runs") && segments.nth(1) == Some(place);
        let number = segments.next().filter(|_| is_there)?.split('.').next()?;
        number.parse().ok()
    }

    /// What the keys of all updates of this update's run begin with.
    pub(crate) fn run_prefix(&self) -> Option<String> {
        let (prefix, _rest) = self.0.split_once("/rounds/")?;
        self.is_update().then(|| format!("{prefix}/rounds/"))
    }

    /// Whether this is an update's key.
    #[must_use]
    pub fn is_update(&self) -> bool {
        self.round().is_some()
    }

    /// Whether this is the key of a bundle of updates.
    #[must_use]
    pub fn is_bundle(&self) -> bool {
        self.is_update() && self.0.ends_with(".bundle")
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        if text.len() > KEY_MAX {
            return Err(invalid(text, "is longer than 512 bytes"));
        }
        text.split('/')
            .try_for_each(check_segment)
            .map_err(|reason| invalid(text, reason))?;
        Ok(Self(text.to_owned()))
    }
}

/// What names one delivery of a task within its round.
fn delivery(task: &TaskId, epoch: u32) -> String {
    let TaskId {
        client, attempt, ..
    } = task;
    format!("{client}-{attempt}-{epoch}")
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if segment.is_empty() {
        Err("has an empty segment")
    } else if segment.starts_with('.') {
        Err("has a segment that begins with a dot")
    } else if segment.len() > SEGMENT_MAX {
        Err("has a segment longer than 255 bytes, a file name's limit")
    } else if !segment.bytes().all(allowed) {
        Err("has other characters than a-z, 0-9, '.', '_' and '-'")
    } else {
        Ok(())
    }
}

fn invalid(text: &str, reason: &'static str) -> InvalidKey {
    InvalidKey {
        text: text.chars().take(100).collect(),
        reason,
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use federation::ClientId;
    use uuid::Uuid;

    use super::*;

    const RUN: RunId = RunId(Uuid::from_u128(7));
    const TASK: TaskId = TaskId {
        run: RUN,
        round: 1,
        client: ClientId(7),
        attempt: 2,
    };

    #[test]
    fn two_models_of_one_round_lie_side_by_side() {
        let key = |model: &[u8]| Key::checkpoint_model(RUN, 1, &Digest::of(model));
        assert_ne!(key(b"one"), key(b"other"));
        assert_eq!(key(b"one"), key(b"one"));
    }

    #[test]
    fn every_place_is_a_valid_key() {
        let digest = Digest::of(b"pangea");
        let keys = [
            Key::content(Kind::Dataset, &digest),
            Key::content(Kind::Shard, &digest),
            Key::content(Kind::Model, &digest),
            Key::update(&TASK, 1),
            Key::bundle(&TASK, 1),
            Key::checkpoint_model(RUN, u32::MAX, &digest),
            Key::checkpoint_manifest(RUN, 1),
        ];
        for key in keys {
            assert_eq!(key.as_str().parse(), Ok(key.clone()));
        }
    }

    #[test]
    fn an_update_says_whose_it_is() {
        let key = Key::update(&TASK, 3);
        let rest = key.as_str().strip_prefix(&Key::rounds_prefix(RUN)).unwrap();
        assert_eq!(rest, "00001/updates/client-0007-2-3");
        assert_eq!(key.round(), Some(1));
        let bundle = Key::bundle(&TASK, 3);
        let rest = bundle.as_str().strip_prefix(&Key::rounds_prefix(RUN));
        assert_eq!(rest, Some("00001.client-0007-2-3.bundle"));
        assert_eq!((key.is_bundle(), bundle.is_bundle()), (false, true));
        assert_eq!(bundle.round(), Some(1));
        assert_eq!(Key::checkpoint_manifest(RUN, 1).round(), None);
    }

    #[test]
    fn a_model_says_which_round_made_it() {
        let model = Key::checkpoint_model(RUN, 12, &Digest::of(b"m"));
        assert_eq!((model.model_round(), model.round()), (Some(12), None));
        assert_eq!(Key::checkpoint_manifest(RUN, 12).model_round(), None);
    }

    #[test]
    fn content_is_named_by_its_digest() {
        let key = Key::content(Kind::Dataset, &Digest::of(b"")).to_string();
        assert!(key.starts_with("datasets/af/af1349b9f5f9a1a6"), "{key}");
    }

    #[test]
    fn what_could_leave_the_store_is_no_key() {
        let long = "a".repeat(KEY_MAX + 1);
        let long_segment = "a".repeat(SEGMENT_MAX + 1);
        for text in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            ".partial/a",
            "A",
            "a b",
            "a\\b",
            "a\0",
            "ä",
            &long,
            &long_segment,
        ] {
            assert!(text.parse::<Key>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_checked_when_it_is_read_from_json() {
        let key: Key = serde_json::from_str("\"runs/a.b_c-1\"").unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"runs/a.b_c-1\"");
        assert!(serde_json::from_str::<Key>("\"../etc\"").is_err());
    }
}
