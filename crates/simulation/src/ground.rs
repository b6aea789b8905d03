//! A data directory with a data set in it, made once by the production code, and copied for each
//! simulation.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::{Client, Content, ImportOptions, v1};
use clock::{ManualClock, Timestamp};
use proto::transport::{Address, Pipe};
use seams::Seams;
use tempfile::TempDir;

use crate::Broken;
use crate::services::{self, Place};

/// The data set's name.
pub const DATASET: &str = "points";

/// Where a simulation begins.
#[derive(Debug)]
pub struct Ground {
    dir: TempDir,
}

impl Ground {
    /// Imports `rows` points of two classes, which a line can tell apart.
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub fn prepare(rows: u32) -> Result<Self, Broken> {
        let dir = tempfile::tempdir_in(memory()).map_err(Broken::start)?;
        let table = dir.path().join("points.csv");
        write_points(&table, rows).map_err(Broken::start)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Broken::start)?;
        runtime.block_on(import(&dir.path().join("data"), &table))?;
        Ok(Self { dir })
    }

    /// A copy for one simulation.
    pub(crate) fn copy(&self) -> io::Result<TempDir> {
        let copy = tempfile::tempdir_in(memory())?;
        copy_dir(&self.dir.path().join("data"), copy.path())?;
        Ok(copy)
    }
}

async fn import(data_dir: &Path, table: &Path) -> Result<(), Broken> {
    let place = Place {
        data_dir: data_dir.to_owned(),
        clock: Arc::new(ManualClock::new(Timestamp(0))),
        compute: Pipe::default(),
        orchestrator: Pipe::default(),
        queue: None,
    };
    let address = Address::Pipe(place.orchestrator.clone());
    let orchestrator = services::orchestrator(place, Seams::default()).await?;
    let options = ImportOptions {
        name: DATASET.to_owned(),
        content: Content::Table {
            label: "class".to_owned(),
            scaling: v1::Scaling::None,
        },
        test_fraction: 0.2,
        seed: 1,
        replace: false,
    };
    let client = Client::connect(&address);
    let imported = client.import_dataset(table, &options).await;
    imported.map_err(Broken::start)?;
    orchestrator.stop(Box::pin(std::future::pending())).await;
    Ok(())
}

fn write_points(path: &Path, rows: u32) -> io::Result<()> {
    let mut table = io::BufWriter::new(fs::File::create(path)?);
    writeln!(table, "x,y,class")?;
    for row in 0..rows {
        let (x, y) = (
            f64::from(row * 37 % 101) / 101.0,
            f64::from(row * 53 % 89) / 89.0,
        );
        writeln!(table, "{x},{y},{}", u8::from(x + y > 1.0))?;
    }
    table.flush()
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A folder whose files need no disk, where there is one: what a loss of power does is tested
/// elsewhere.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}
