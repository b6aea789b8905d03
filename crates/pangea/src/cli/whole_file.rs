//! Files that appear whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::NamedTempFile;

/// A file that is written beside its place. Dropped before it is placed, it leaves nothing.
#[derive(Debug)]
pub(crate) struct WholeFile {
    beside: NamedTempFile,
    place: PathBuf,
}

impl WholeFile {
    pub(crate) fn create(place: &Path) -> anyhow::Result<Self> {
        let folder = place
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let beside = builder
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .with_context(|| format!("write {}", place.display()))?;
        let place = place.to_owned();
        Ok(Self { beside, place })
    }

    /// Puts the file where it belongs, in place of one that is there.
    pub(crate) fn place(self) -> anyhow::Result<()> {
        let written = self.beside.persist(&self.place);
        written
            .map_err(|failed| failed.error)
            .with_context(|| format!("write {}", self.place.display()))?;
        Ok(())
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.beside.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.beside.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_placed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("rounds.csv");
        let mut file = WholeFile::create(&place).unwrap();
        file.write_all(b"round\n").unwrap();
        assert!(!place.exists());
        file.place().unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"round\n");

        drop(WholeFile::create(&place).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
