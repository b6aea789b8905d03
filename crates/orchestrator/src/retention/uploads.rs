//! Uploads that broke off and that nobody goes on with.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use artifacts::{ArtifactStore, Key};
use federation::Timestamp;

use super::Sum;
use super::rules::has_passed;
use crate::trace::block;

/// How long an upload that broke can be gone on with, as when the store is opened.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// An upload that broke off.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    pub(super) bytes: u64,
}

/// What uploads hold, and those of them that broke off too long ago.
pub(super) async fn find(blobs: &ArtifactStore, now: Timestamp) -> io::Result<(Sum, Vec<Partial>)> {
    let Some(dir) = place(blobs) else {
        return Ok(Default::default());
    };
    let found = block(move || find_in(&dir, now)).await;
    found.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// Removes those that nobody has taken up since; gives the size of each.
pub(super) async fn remove(uploads: &[Partial], now: Timestamp) -> io::Result<Vec<u64>> {
    let paths: Vec<_> = uploads.iter().map(|upload| upload.path.clone()).collect();
    let removed = block(move || {
        let removed = paths.iter().map(|path| remove_one(path, now));
        removed.filter_map(Result::transpose).collect()
    });
    let removed = removed.await;
    removed.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// Where the local store keeps what is on its way.
fn place(blobs: &ArtifactStore) -> Option<PathBuf> {
    let any: Key = "a".parse().ok()?;
    Some(blobs.path_of(&any).with_file_name(".partial"))
}

fn find_in(dir: &Path, now: Timestamp) -> io::Result<(Sum, Vec<Partial>)> {
    let (mut all, mut broken) = (Sum::default(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // One that has become an object since it was listed is no more.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        let bytes = metadata.len();
        all.add(bytes);
        if is_old(&metadata, now)? && is_free(&path)?.is_some() {
            broken.push(Partial { path, bytes });
        }
    }
    broken.sort_by(|one, other| one.path.cmp(&other.path));
    Ok((all, broken))
}

fn remove_one(path: &Path, now: Timestamp) -> io::Result<Option<u64>> {
    // Held until the file is gone, so that nobody goes on with it in between.
    let Some(file) = is_free(path)? else {
        return Ok(None);
    };
    let metadata = file.metadata()?;
    if !is_old(&metadata, now)? {
        return Ok(None);
    }
    fs::remove_file(path)?;
    Ok(Some(metadata.len()))
}

/// The file, locked, unless an upload holds it or it is no more.
fn is_free(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(file.try_lock().is_ok().then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_old(metadata: &fs::Metadata, now: Timestamp) -> io::Result<bool> {
    let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH);
    let written = Timestamp(0).after(since_epoch.unwrap_or_default());
    Ok(has_passed(written, KEPT, now))
}

#[cfg(test)]
mod tests {
    use artifacts::BlobStore;
    use bytes::Bytes;
    use federation::Digest;

    use super::*;

    /// A day and an hour after `path` was written.
    fn long_after(dir: &Path) -> Timestamp {
        let path = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
        let written = fs::metadata(path).unwrap().modified().unwrap();
        let written = Timestamp(0).after(written.duration_since(UNIX_EPOCH).unwrap());
        written.after(KEPT + Duration::from_secs(3600))
    }

    #[tokio::test]
    async fn an_upload_goes_a_day_after_it_broke_and_never_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let local = artifacts::LocalStore::open(dir.path().join("artifacts")).unwrap();
        let store = ArtifactStore::local(local);
        let key: Key = "a".parse().unwrap();
        // What is shorter is no file until it is whole.
        let bytes = Bytes::from(vec![7; 100_000]);
        let (len, digest) = (bytes.len() as u64, Digest::of(&bytes));
        let mut upload = store.upload(&key, len, &digest).await.unwrap();
        upload.write(bytes.slice(..3)).await.unwrap();
        let late = long_after(&place(&store).unwrap());
        let all = Sum {
            objects: 1,
            bytes: 3,
        };

        let (held, broken) = find(&store, late).await.unwrap();
        assert_eq!((held, broken.len()), (all, 0), "somebody holds it");
        drop(upload);
        let early = Timestamp(late.0 - 3 * 3_600_000);
        let (held, broken) = find(&store, early).await.unwrap();
        assert_eq!((held, broken.len()), (all, 0), "it is not old");

        let (_, broken) = find(&store, late).await.unwrap();
        let again = store.upload(&key, len, &digest).await.unwrap();
        assert_eq!(remove(&broken, late).await.unwrap(), [0; 0], "taken up");
        drop(again);
        assert_eq!(remove(&broken, late).await.unwrap(), [3]);
        assert_eq!(find(&store, late).await.unwrap().0, Sum::default());
    }
}
