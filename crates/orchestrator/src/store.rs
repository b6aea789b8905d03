//! What the orchestrator must not forget: in a file of SQLite or a database of PostgreSQL, in the
//! same portable SQL.
//!
//! A commit is on the disk when it returns; in a file, receipts and openings of rounds only with the
//! next one that tells of more, since they can be made again. Facts of a run and the events that tell of them are
//! written in one transaction, so a watcher sees neither without the other. Every operation can be
//! made again when its outcome is unknown, because the connection broke before the answer: what it
//! did is found and not done twice. Only events that change no other fact may be told twice.

mod batch;
mod connections;
mod datasets;
mod events;
mod leader;
mod listen;
mod meter;
mod models;
mod partitions;
mod place;
mod receipts;
mod rounds;
mod runs;
mod schema;
mod statements;

use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seams::bell::{Bell, Hearer};
use seams::{Seams, away};
use sqlx::any::{AnyRow, install_default_drivers};
use sqlx::{AnyConnection, Row, raw_sql};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;
use uuid::Uuid;

pub use datasets::DatasetRow;
pub use events::{EVENTS_AT_ONCE, StoredEvent};
pub use leader::{Epoch, Standing};
pub use models::ModelRow;
pub use partitions::PartitionRow;
pub use place::{Place, PlaceError, Server};
pub use receipts::{Judgement, Receipt, Verdict};
pub use rounds::{OpenRound, RoundRow};
pub use runs::{NewRun, RunRow, Submission};
pub use schema::migrator;

use crate::metrics;
use connections::Connections;
use leader::Fence;
use meter::Meter;

/// How long closing waits for connections that may answer no more.
const CLOSE: Duration = Duration::from_secs(5);

/// Why the run store did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("cannot open the run store {place}: {source}")]
    Open {
        /// Where it is.
        place: String,
        /// Why.
        source: Box<sqlx::Error>,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the run store: {0}")]
    Migrate(#[from] Box<sqlx::migrate::MigrateError>),
    /// A statement failed.
    #[error("the run store failed: {0}")]
    Statement(#[from] sqlx::Error),
    /// Only the leader writes.
    #[error("the run store is led by {leader} in term {epoch}, and not by this process's term")]
    Deposed {
        /// Who leads.
        leader: String,
        /// In which term.
        epoch: i64,
    },
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
    connections: Connections,
    meter: Arc<Meter>,
    // Rung at each commit, so that watchers wait instead of polling.
    commits: Bell,
    fence: Arc<Mutex<Fence>>,
    // Tells its own commits from those of others.
    name: Arc<str>,
    // None in a file, which has no other process.
    listening: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Store {
    /// Opens the store at `place`, making or migrating it as needed, and counts its statements.
    ///
    /// # Errors
    ///
    /// [`StoreError::Open`] and [`StoreError::Migrate`].
    pub async fn open(place: &Place, metrics: metrics::store::Store) -> Result<Self, StoreError> {
        install_default_drivers();
        let _away = away::go().await;
        let connections = Connections::open(place).await;
        let connections = connections.map_err(|source| StoreError::Open {
            place: place.to_string(),
            source: Box::new(source),
        })?;
        migrate(&connections, place).await?;
        let commits = Bell::default();
        let name = Uuid::new_v4().to_string();
        let listening = match place {
            Place::Sqlite(_) => None,
            Place::Postgres(server) => {
                let listening = listen::listen(server.options(), name.clone(), commits.clone());
                Some(Arc::new(listening))
            }
        };
        Ok(Self {
            connections,
            meter: Arc::new(Meter::new(metrics, place.answer())),
            commits,
            fence: Arc::new(Mutex::new(Fence::None)),
            name: name.into(),
            listening,
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

    /// Rings whenever new events may be there.
    #[must_use]
    pub fn commits(&self) -> Hearer {
        self.commits.hearer()
    }

    /// Finishes what is under way and closes the connections.
    pub async fn close(&self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
        if timeout(CLOSE, self.connections.close()).await.is_err() {
            warn!("the run store was closed before it answered");
        }
    }

    /// Brings what is shown of the connections up to date.
    pub fn look(&self) {
        self.meter.look(&self.connections);
    }

    /// Whether other processes may be at the same store.
    fn is_shared(&self) -> bool {
        self.listening.is_some()
    }
}

/// Brings the schema up to date, one process at a time, however long that takes.
async fn migrate(connections: &Connections, place: &Place) -> Result<(), StoreError> {
    let mut connection = connections.acquire(None).await?;
    if let Place::Postgres(_) = place {
        let patience = "SET statement_timeout = 0; SET lock_timeout = 0";
        raw_sql(patience).execute(connection.get()).await?;
        warn_of_a_careless_server(connection.get()).await?;
    }
    schema::migrator(None)
        .run(connection.get())
        .await
        .map_err(Box::new)?;
    connection.close().await?;
    Ok(())
}

async fn warn_of_a_careless_server(connection: &mut AnyConnection) -> sqlx::Result<()> {
    let row = sqlx::query("SHOW fsync").fetch_one(connection).await?;
    let fsync: String = row.try_get("fsync")?;
    if fsync != "on" {
        warn!(
            fsync,
            "the run store's server does not wait for its disk, and may lose commits"
        );
    }
    Ok(())
}

/// The value of a column that is kept as text.
fn text<T>(row: &AnyRow, column: &'static str) -> Result<T, StoreError>
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
    row: &AnyRow,
    column: &'static str,
) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| StoreError::Corrupt {
        column,
        problem: error.to_string(),
    })
}

/// The value of a column that counts.
fn count<T: TryFrom<i64>>(row: &AnyRow, column: &'static str) -> Result<T, StoreError> {
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
