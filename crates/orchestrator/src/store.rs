//! What the orchestrator must not forget: one file of SQLite, in portable SQL.
//!
//! A commit is on the disk when it returns. Facts of a run and the events that tell of them are
//! written in one transaction, so a watcher sees neither without the other.

mod datasets;
mod events;
mod models;
mod partitions;
mod receipts;
mod rounds;
mod runs;
mod statements;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use seams::Seams;
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use thiserror::Error;
use tokio::sync::watch;

pub use datasets::DatasetRow;
pub use events::StoredEvent;
pub use models::ModelRow;
pub use partitions::PartitionRow;
pub use receipts::{Receipt, Verdict};
pub use rounds::{OpenRound, RoundRow};
pub use runs::{NewRun, RunRow, Submission};

use crate::metrics;
use statements::Meter;

/// Connections kept open. One writes at a time; the others serve readers beside it.
const CONNECTIONS: u32 = 4;

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(30);

/// Why the run store did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the run store {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<sqlx::Error>,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the run store: {0}")]
    Migrate(#[from] Box<sqlx::migrate::MigrateError>),
    /// A statement failed.
    #[error("the run store failed: {0}")]
    Statement(#[from] sqlx::Error),
    /// A stored value does not read as what it should be.
    #[error("the run store holds a {column} that cannot be read: {problem}")]
    Corrupt {
        /// Which column.
        column: &'static str,
        /// Why not.
        problem: String,
    },
}

/// The run store.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    meter: Arc<Meter>,
    // Counts commits that appended events, so that watchers wait instead of polling.
    commits: watch::Sender<u64>,
}

impl Store {
    /// Opens the store at `path`, making or migrating it as needed, and counts its statements.
    ///
    /// # Errors
    ///
    /// [`StoreError::Open`] and [`StoreError::Migrate`].
    pub async fn open(path: &Path, metrics: metrics::store::Store) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit survives the loss of power, not just of the process.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Open {
                path: path.into(),
                source: Box::new(source),
            })?;
        sqlx::migrate!().run(&pool).await.map_err(Box::new)?;
        Ok(Self {
            pool,
            meter: Arc::new(Meter::new(metrics)),
            commits: watch::Sender::new(0),
        })
    }

    /// Passes every statement through `seams`. To be said before anybody shares the store.
    #[must_use]
    pub fn through(mut self, seams: Seams) -> Self {
        if let Some(meter) = Arc::get_mut(&mut self.meter) {
            meter.seams = seams;
        }
        self
    }

    /// Changes whenever new events may be there.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Whether the store answers.
    ///
    /// # Errors
    ///
    /// [`StoreError::Statement`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Finishes what is under way and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Brings what is shown of the connections up to date.
    pub fn look(&self) {
        self.meter.look(&self.pool);
    }
}

/// The value of a column that is kept as text.
fn text<T>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error: T::Err| StoreError::Corrupt {
        column,
        problem: error.to_string(),
    })
}

/// The value of a column that is kept as JSON.
fn json<T: serde::de::DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| StoreError::Corrupt {
        column,
        problem: error.to_string(),
    })
}

/// The value of a column that counts.
fn count<T: TryFrom<i64>>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|_outside| StoreError::Corrupt {
        column,
        problem: format!("{number} is out of range"),
    })
}

/// A count as the database keeps it. Saturates; none of ours comes near.
fn stored(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A value as JSON text. The types that come here have no map with keys that are not text, and so
/// always encode.
pub(crate) fn encoded(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt {
        column: "json",
        problem: error.to_string(),
    })
}
