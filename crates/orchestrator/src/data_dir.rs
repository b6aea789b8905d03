//! The directory that holds everything: opened by one orchestrator at a time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// An opened data directory. The lock goes with the process, however it dies.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Nothing can be written there.
    #[error("data directory {} cannot be written to: {source}; set data_dir to one that can", path.display())]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another orchestrator works there.
    #[error("data directory {} is in use by another orchestrator; stop it, or set data_dir to another one", path.display())]
    InUse {
        /// Which one.
        path: PathBuf,
    },
}

impl DataDir {
    /// Makes the directory where it is missing, and takes it.
    ///
    /// # Errors
    ///
    /// [`DataDirError`].
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        let unwritable = |source| DataDirError::Unwritable {
            path: root.to_owned(),
            source,
        };
        artifacts::make_dir(root).map_err(unwritable)?;
        let lock = File::create(root.join("orchestrator.lock")).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse {
                    path: root.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let this = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        // What was being made when the last process died is made again.
        if this.spool().is_dir() {
            fs::remove_dir_all(this.spool()).map_err(unwritable)?;
        }
        fs::create_dir_all(this.spool()).map_err(unwritable)?;
        Ok(this)
    }

    /// The run store's file.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root.join("runs.sqlite")
    }

    /// The file with the name under which this orchestrator leads.
    #[must_use]
    pub fn holder(&self) -> PathBuf {
        self.root.join("holder")
    }

    /// Where objects lie.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// Where files are made before they become objects; on the same file system as these.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_orchestrator_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("in use by another orchestrator"), "{error}");
        drop(first);
        assert!(DataDir::open(dir.path()).is_ok());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().join("data");
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(error.contains("set data_dir"), "{error}");
    }
}
