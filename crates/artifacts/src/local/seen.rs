//! Which files were seen to have which digest, so that nobody reads them again to know it.
//!
//! A file is taken for what it was seen to be for as long as it is the same one, has the same length
//! and was not written to since: the system marks each write with a time that no process can set. (Before
//! Linux 6.13 that time has steps of some milliseconds, in which a second write is not told apart.)
//! Known are the files of this process's life alone; after a restart each is looked at once more.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use federation::Digest;

use super::files::digest_prefix;
use super::{SMALL, absent_is_none};
use crate::Key;

/// Files known at once, at about 200 bytes each. The rest is read again.
const KNOWN_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<Key, (Mark, Digest)>>);

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Mark {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            len: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl Seen {
    /// Says that the file at `path`, the object of `key`, has this digest.
    pub(super) fn keep(&self, key: &Key, path: &Path, digest: Digest) -> io::Result<()> {
        let mark = Mark::of(&std::fs::metadata(path)?);
        self.insert(key, mark, digest);
        Ok(())
    }

    pub(super) fn forget(&self, key: &Key) {
        self.known().remove(key);
    }

    /// Whether the object of `key` is a file that this process wrote or read, and a small one.
    pub(super) fn is_at_hand(&self, key: &Key) -> bool {
        let known = self.known();
        known.get(key).is_some_and(|(mark, _)| mark.len <= SMALL)
    }

    /// The length and the digest of the file at `path`, the object of `key`, if there is one.
    pub(super) fn look(&self, key: &Key, path: &Path) -> io::Result<Option<(u64, Digest)>> {
        let Some(file) = absent_is_none(File::open(path))? else {
            return Ok(None);
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mark = Mark::of(&metadata);
        let known = self.known().get(key).copied();
        let digest = match known {
            Some((seen, digest)) if seen == mark => digest,
            _ => {
                let digest = digest_prefix(&file, mark.len)?.finish();
                self.insert(key, mark, digest);
                digest
            }
        };
        Ok(Some((mark.len, digest)))
    }

    fn insert(&self, key: &Key, mark: Mark, digest: Digest) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key.clone(), (mark, digest));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, (Mark, Digest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_to_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, key) = (dir.path().join("a"), "models/a".parse().unwrap());
        let seen = Seen::default();
        assert_eq!(seen.look(&key, &path).unwrap(), None);
        std::fs::write(&path, b"one").unwrap();
        // Whoever wrote it may say what it is; a lie shows that nobody looks again.
        seen.keep(&key, &path, Digest::of(b"lie")).unwrap();
        assert_eq!(
            seen.look(&key, &path).unwrap(),
            Some((3, Digest::of(b"lie")))
        );
        std::fs::write(&path, b"other").unwrap();
        let other = Some((5, Digest::of(b"other")));
        assert_eq!(seen.look(&key, &path).unwrap(), other);
        seen.keep(&key, &path, Digest::of(b"lie")).unwrap();
        seen.forget(&key);
        assert_eq!(seen.look(&key, &path).unwrap(), other);
    }
}
