//! What is on a disk when the power goes: told from the system calls of a process.
//!
//! Nothing is taken to be there that was not synced: bytes of a file are those of its last fsync,
//! names are those of their directory's last fsync. A file system may keep more than that; what it
//! keeps of names without the bytes is the other extreme that is looked at.
//!
//! # Source
//!
//! T. S. Pillai and others, "All File Systems Are Not Created Equal", OSDI 2014: what applications
//! may rely on.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::calls::{Call, Made};

/// What survives besides what was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing.
    Nothing,
    /// Every name, also of files whose bytes were never synced and are gone.
    Names,
}

/// A file's bytes as a process sees them, and as they were last synced.
#[derive(Debug, Clone, Default)]
struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Directory,
    File(usize),
}

/// A directory and everything below it.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    files: Vec<File>,
    live: BTreeMap<PathBuf, Entry>,
    synced: BTreeMap<PathBuf, Entry>,
    offsets: HashMap<u64, u64>,
    /// Bytes as they were when an fsync began, by the thread that waits for it.
    syncing: HashMap<u64, (usize, Vec<u8>)>,
}

impl Disk {
    /// One with an empty directory at `root`.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            files: Vec::new(),
            live: BTreeMap::new(),
            synced: BTreeMap::new(),
            offsets: HashMap::new(),
            syncing: HashMap::new(),
        }
    }

    /// Does what the process did; says whether more, or something else, would now survive.
    pub(super) fn follow(&mut self, made: &Made) -> bool {
        match &made.call {
            Call::Open {
                path,
                fd,
                create,
                truncate,
                append,
            } => {
                self.open(path, *create, *truncate);
                let end = self
                    .file_at(path)
                    .map_or(0, |file| self.files[file].live.len() as u64);
                self.offsets.insert(*fd, if *append { end } else { 0 });
            }
            Call::Seek { fd, to } => {
                self.offsets.insert(*fd, *to);
            }
            Call::Write {
                fd,
                path,
                at,
                bytes,
            } => self.write(*fd, path, *at, bytes),
            Call::Truncate { path, len } => {
                if let Some(file) = self.file_at(path) {
                    let len = usize::try_from(*len).expect("a small file");
                    self.files[file].live.resize(len, 0);
                }
            }
            Call::SyncBegins { path } => self.sync_begins(made.thread, path),
            Call::Synced { path } => return self.synced(made.thread, path),
            Call::MakeDirectory { path } => self.enter(path, Entry::Directory),
            Call::Rename { from, to } => self.rename(from, to),
            Call::Remove { path } => {
                self.live.remove(path);
            }
        }
        false
    }

    fn is_here(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    fn enter(&mut self, path: &Path, entry: Entry) {
        if self.is_here(path) {
            self.live.insert(path.to_owned(), entry);
        }
    }

    fn file_at(&self, path: &Path) -> Option<usize> {
        match self.live.get(path) {
            Some(Entry::File(file)) => Some(*file),
            _ => None,
        }
    }

    fn open(&mut self, path: &Path, create: bool, truncate: bool) {
        match self.file_at(path) {
            Some(file) if truncate => self.files[file].live.clear(),
            Some(_) => {}
            None if create && self.is_here(path) => {
                self.files.push(File::default());
                self.enter(path, Entry::File(self.files.len() - 1));
            }
            None => {}
        }
    }

    fn write(&mut self, fd: u64, path: &Path, at: Option<u64>, bytes: &[u8]) {
        let Some(file) = self.file_at(path) else {
            return;
        };
        let begins = at.unwrap_or_else(|| *self.offsets.entry(fd).or_default());
        let begins = usize::try_from(begins).expect("a small file");
        let live = &mut self.files[file].live;
        let ends = begins + bytes.len();
        if live.len() < ends {
            live.resize(ends, 0);
        }
        live[begins..ends].copy_from_slice(bytes);
        if at.is_none() {
            self.offsets.insert(fd, ends as u64);
        }
    }

    fn sync_begins(&mut self, thread: u64, path: &Path) {
        if let Some(file) = self.file_at(path) {
            let bytes = self.files[file].live.clone();
            self.syncing.insert(thread, (file, bytes));
        }
    }

    fn synced(&mut self, thread: u64, path: &Path) -> bool {
        if let Some((file, bytes)) = self.syncing.remove(&thread) {
            let changed = self.files[file].synced != bytes;
            self.files[file].synced = bytes;
            return changed;
        }
        if path != self.root && self.live.get(path) != Some(&Entry::Directory) {
            return false;
        }
        let before = self.synced.clone();
        self.synced.retain(|name, _| name.parent() != Some(path));
        let names = self
            .live
            .iter()
            .filter(|(name, _)| name.parent() == Some(path));
        self.synced
            .extend(names.map(|(name, entry)| (name.clone(), *entry)));
        self.synced != before
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(entry) = self.live.remove(from) {
            assert!(entry != Entry::Directory, "directories are not renamed");
            self.enter(to, entry);
        }
    }

    /// Writes what has survived into `folder`, in place of the root.
    pub(super) fn leave(&self, kept: Kept, folder: &Path) {
        let names = match kept {
            Kept::Nothing => &self.synced,
            Kept::Names => &self.live,
        };
        for (name, entry) in names {
            let place = folder.join(name.strip_prefix(&self.root).expect("below the root"));
            // What is in a directory that is gone is gone too.
            if !place.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match entry {
                Entry::Directory => fs::create_dir(&place).expect("a directory"),
                Entry::File(file) => fs::write(&place, &self.files[*file].synced).expect("a file"),
            }
        }
    }

    /// Compares what the process saw in the end with what is there. What SQLite shares between
    /// connections it writes as memory, never syncs, and makes anew.
    pub(super) fn assert_is_what_was_seen(&self) {
        let is_shared = |name: &Path| name.to_string_lossy().ends_with("-shm");
        for (name, entry) in self.live.iter().filter(|(name, _)| !is_shared(name)) {
            if let Entry::File(file) = entry {
                let there = fs::read(name).expect("a file");
                assert!(
                    there == self.files[*file].live,
                    "{} differs",
                    name.display()
                );
            }
        }
    }
}
