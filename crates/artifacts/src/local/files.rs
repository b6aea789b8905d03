//! Files that are whole and on the disk, or not there.

use std::collections::HashSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use federation::digest::{Digest, Digester};
use seams::away;

use super::{Place, absent_is_none};
use crate::Key;

/// Where bytes wait to become objects; no key begins with a dot.
const PARTIAL: &str = ".partial";

/// What the names of files begin with that are being put; an upload's is a digest.
const TEMPORARY: &str = "put-";

/// How long an upload that broke can be gone on with.
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How much is read at a time to be hashed: large enough for BLAKE3's wide paths.
const HASH_BUFFER: usize = 256 * 1024;

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match away::block(work).await {
        Ok(result) => result,
        Err(panicked) => Err(io::Error::other(panicked)),
    }
}

pub(super) fn partial_dir(root: &Path) -> PathBuf {
    root.join(PARTIAL)
}

/// Makes a directory, and those above it that are missing. It is on the disk when this returns, also
/// if somebody made it who died before it was.
///
/// # Errors
///
/// What the disk says.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    let above = match dir.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    if !above.is_dir() {
        make_dir(above)?;
    }
    match fs::create_dir(dir) {
        Err(_) if dir.is_dir() => {}
        made => made?,
    }
    match File::open(above) {
        // Whoever may not look into it has not made anything in it either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        above => above?.sync_all(),
    }
}

/// Creates the directories of a store and tries whether files can be written there.
pub(super) fn probe(root: &Path) -> io::Result<()> {
    make_dir(root)?;
    make_dir(&partial_dir(root))?;
    let (_file, path) = create_temporary(root)?;
    fs::remove_file(path)
}

/// How far a file must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// It is seen by all who look; a power cut may take it.
    Moved,
    /// The disk has it.
    Settled,
}

/// Writes `bytes` to `path` so that all of them are there or what was there before.
pub(super) fn replace(place: &Place, path: &Path, bytes: &[u8], until: Until) -> io::Result<()> {
    let (mut file, temporary) = create_temporary(&place.root)?;
    let written = file.write_all(bytes);
    let placed = written.and_then(|()| put_at(place, &file, &temporary, path, until));
    if placed.is_err() {
        // The first failure is the one to tell; a file left here disturbs nobody.
        drop(fs::remove_file(&temporary));
    }
    placed
}

/// Directories that are on the disk for certain, so that only what is in them need be brought there.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<HashSet<PathBuf>>);

/// Directories remembered at once: each round of a run has one.
const SETTLED_MAX: usize = 10_000;

impl Settled {
    /// Returns when the disk has the entry of the file at `path`, and all directories above it up to
    /// `root`: any of them may be a new one, made here or by a neighbour.
    fn settle(&self, root: &Path, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(root);
        File::open(dir)?.sync_all()?;
        for dir in dir.ancestors().take_while(|dir| *dir != root) {
            if self.dirs().contains(dir) {
                break;
            }
            File::open(dir.parent().unwrap_or(root))?.sync_all()?;
        }
        let mut settled = self.dirs();
        if settled.len() >= SETTLED_MAX {
            settled.clear();
        }
        let above = dir.ancestors().take_while(|dir| *dir != root);
        settled.extend(above.map(Path::to_owned));
        Ok(())
    }

    fn forget(&self, dir: &Path) {
        self.dirs().remove(dir);
    }

    fn dirs(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves a written file to `path`.
pub(super) fn put_at(
    place: &Place,
    file: &File,
    from: &Path,
    path: &Path,
    until: Until,
) -> io::Result<()> {
    if until == Until::Moved {
        return rename(&place.root, from, path);
    }
    file.sync_all()?;
    rename(&place.root, from, path)?;
    place.settled.settle(&place.root, path)
}

/// Returns when the disk has the file at `path`, which was moved there.
pub(super) fn settle(place: &Place, path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    place.settled.settle(&place.root, path)
}

/// Removes files, and the directories above them that are empty then. That there is none is fine.
pub(super) fn remove(place: &Place, paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        absent_is_none(fs::remove_file(path))?;
    }
    let mut dirs: Vec<_> = paths.iter().filter_map(|path| path.parent()).collect();
    dirs.dedup();
    for dir in dirs {
        remove_empty(place, dir);
    }
    Ok(())
}

/// Removes a directory, and those above it, for as long as they are empty.
fn remove_empty(place: &Place, dir: &Path) {
    for dir in dir.ancestors().take_while(|dir| *dir != &*place.root) {
        // Before it is gone: whoever makes it again has it settled again.
        place.settled.forget(dir);
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}

/// Moves a written file to `path`. Where it is after a power cut, and with which bytes, is open.
pub(super) fn rename(root: &Path, from: &Path, path: &Path) -> io::Result<()> {
    let moved = fs::rename(from, path);
    match &moved {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            fs::rename(from, path)
        }
        _ => moved,
    }
}

/// Writes behind what the file at `path` holds, which is made where there is none; says where.
pub(super) fn append(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<u64> {
    let mut options = File::options();
    options.append(true).create(true);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            options.open(path)?
        }
        opened => opened?,
    };
    file.write_all(bytes)?;
    Ok(file.stream_position()? - bytes.len() as u64)
}

/// The digest of the `part` bytes from `offset` of a file that has `len`, if there are so many.
pub(super) fn digest_within(
    file: &File,
    len: u64,
    offset: u64,
    part: u64,
) -> io::Result<Option<Digest>> {
    if offset.checked_add(part).is_none_or(|end| end > len) {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(part).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Some(Digest::of(&bytes)))
}

/// Hashes the first `len` bytes of a file.
pub(crate) fn digest_prefix(file: &File, len: u64) -> io::Result<Digester> {
    let mut digester = Digester::default();
    let mut rest = file.take(len);
    let mut buffer = vec![0; HASH_BUFFER];
    loop {
        match rest.read(&mut buffer)? {
            0 => return Ok(digester),
            count => digester.update(&buffer[..count]),
        }
    }
}

/// Whether the file at `path` has exactly these bytes.
pub(crate) fn holds(path: &Path, len: u64, digest: &Digest) -> io::Result<bool> {
    let Some(file) = absent_is_none(File::open(path))? else {
        return Ok(false);
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != len {
        return Ok(false);
    }
    Ok(digest_prefix(&file, len)?.finish() == *digest)
}

/// The keys under `root` that begin with `prefix`, sorted.
pub(super) fn keys_under(root: &Path, prefix: &str) -> io::Result<Vec<Key>> {
    let mut keys = Vec::new();
    match prefix.rsplit_once('/') {
        None => walk(root, "", prefix, &mut keys)?,
        // What is not a key names no directory here, and none elsewhere.
        Some((dir, _)) if dir.parse::<Key>().is_ok() => {
            walk(&root.join(dir), &format!("{dir}/"), prefix, &mut keys)?;
        }
        Some(_) => {}
    }
    keys.sort();
    Ok(keys)
}

fn walk(dir: &Path, name: &str, prefix: &str, keys: &mut Vec<Key>) -> io::Result<()> {
    let Some(entries) = absent_is_none(fs::read_dir(dir))? else {
        return Ok(());
    };
    for entry in entries {
        let entry: DirEntry = entry?;
        let Ok(own) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{name}{own}");
        let Ok(key) = path.parse::<Key>() else {
            continue;
        };
        let kind = entry.file_type()?;
        if kind.is_dir() && (path.starts_with(prefix) || prefix.starts_with(&path)) {
            walk(&entry.path(), &format!("{path}/"), prefix, keys)?;
        } else if kind.is_file() && path.starts_with(prefix) {
            keys.push(key);
        }
    }
    Ok(())
}

/// Deletes what a process that died left behind: files that were being put, and uploads that nobody
/// went on with for [`UPLOAD_KEPT`]. No other process may be using the store.
pub(super) fn sweep(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(partial_dir(root))? {
        let entry = entry?;
        let is_put = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let age = entry.metadata()?.modified()?.elapsed();
        // A file from the future is as good as new.
        if is_put || age.is_ok_and(|age| age > UPLOAD_KEPT) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Creates a file that no one else knows.
fn create_temporary(root: &Path) -> io::Result<(File, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEMPORARY}{}-{number}", std::process::id());
        let path = partial_dir(root).join(name);
        match File::create_new(&path) {
            // Left by a process that had the same id and died.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return Ok((created?, path)),
        }
    }
}
