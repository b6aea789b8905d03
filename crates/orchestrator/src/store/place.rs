//! Where a run store is kept: a file of SQLite, or a database of PostgreSQL.
//!
//! Both are reached through sqlx's run-time driver, so that every statement is written once. What
//! differs between them is here: how they are found, and what each connection is told first.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AnyConnection, raw_sql};
use thiserror::Error;

/// Connections kept open to a file. One writes at a time; the others serve readers beside it.
const FILE_CONNECTIONS: u32 = 4;

/// Connections kept open to a server: a writer, those that wait to be it, and readers. A server
/// allows 100 to all its clients unless told otherwise.
const SERVER_CONNECTIONS: u32 = 8;

/// How long a server may take to answer a statement, after which its connection is given up: no
/// statement takes a second, a writer waits up to ten, and a network that lost the connection says
/// nothing for a quarter of an hour.
const ANSWER: Duration = Duration::from_secs(20);

/// What every connection to a file is told. A writer waits 30 seconds for the one before it. Each
/// transaction says whether its commit survives the loss of power, not just of the process.
const FILE_SETTINGS: &str = "
    PRAGMA busy_timeout = 30000;
    PRAGMA journal_mode = WAL;
    PRAGMA foreign_keys = ON;";

/// What every connection to a server is told. A commit must be on its disk; what is stricter than
/// that stays. A writer that vanished is thrown out, so that the next one gets its turn.
const SERVER_SETTINGS: &str = "
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off';
    SELECT set_config('application_name', 'pangea-orchestrator', false)
        WHERE current_setting('application_name') = '';
    SET lock_timeout = '10s';
    SET statement_timeout = '15s';
    SET idle_in_transaction_session_timeout = '10s';";

/// Where a run store is kept.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file, for one process.
    Sqlite(PathBuf),
    /// On a server, for several processes of which one leads.
    Postgres(Server),
}

/// A database of PostgreSQL. Its URL may hold a password and is shown to nobody.
#[derive(Clone)]
pub struct Server {
    url: AnyConnectOptions,
    options: Box<PgConnectOptions>,
}

/// Why a text is no place for a run store.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// It is of another kind.
    #[error(
        "a run store is in postgres://USER:PASSWORD@HOST:PORT/DATABASE, or, when nothing is given, \
         in a file of the data directory; {found} is neither"
    )]
    Unknown {
        /// What it begins with.
        found: String,
    },
    /// It does not read.
    #[error("the address of the run store's PostgreSQL: {0}")]
    Unreadable(#[source] Box<sqlx::Error>),
}

impl Place {
    /// The place that `url` names; `file` when it is empty.
    ///
    /// # Errors
    ///
    /// [`PlaceError`], which does not repeat the password.
    pub fn read(url: &str, file: PathBuf) -> Result<Self, PlaceError> {
        if url.is_empty() {
            return Ok(Self::Sqlite(file));
        }
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("postgres" | "postgresql")) {
            let found = scheme.map_or_else(|| "this".to_owned(), |scheme| format!("{scheme}://…"));
            return Err(PlaceError::Unknown { found });
        }
        let unreadable = |error| PlaceError::Unreadable(Box::new(error));
        Ok(Self::Postgres(Server {
            options: Box::new(url.parse().map_err(unreadable)?),
            url: url.parse().map_err(unreadable)?,
        }))
    }

    pub(super) fn options(&self) -> Result<AnyConnectOptions, sqlx::Error> {
        match self {
            Self::Sqlite(path) => file_options(path),
            Self::Postgres(server) => Ok(server.url.clone()),
        }
    }

    pub(super) fn connections(&self) -> u32 {
        match self {
            Self::Sqlite(_) => FILE_CONNECTIONS,
            Self::Postgres(_) => SERVER_CONNECTIONS,
        }
    }

    /// How long a statement may take. A file answers when it can.
    pub(super) fn answer(&self) -> Option<Duration> {
        matches!(self, Self::Postgres(_)).then_some(ANSWER)
    }

    /// What a new connection is told.
    pub(super) fn settings(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => FILE_SETTINGS,
            Self::Postgres(_) => SERVER_SETTINGS,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(server) => write!(f, "{server:?}"),
        }
    }
}

impl Server {
    pub(super) fn options(&self) -> PgConnectOptions {
        (*self.options).clone()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, .. } = self;
        let database = options.get_database().unwrap_or_default();
        let (host, port) = (options.get_host(), options.get_port());
        write!(f, "postgres://{host}:{port}/{database}")
    }
}

/// The file, made if it is not there. In a URL without slashes, because a parser of URLs would
/// otherwise tidy up the path.
fn file_options(path: &Path) -> Result<AnyConnectOptions, sqlx::Error> {
    let path = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    AnyConnectOptions::from_str(&format!("sqlite:{path}?mode=rwc"))
}

/// Tells a connection what it must know before its first statement.
pub(super) async fn prepare(
    connection: &mut AnyConnection,
    settings: &'static str,
) -> sqlx::Result<()> {
    raw_sql(settings).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_password_is_not_shown() {
        let file = PathBuf::from("runs.sqlite");
        let place = Place::read("postgresql://me:s3cret@db:5433/runs", file.clone()).unwrap();
        assert_eq!(place.to_string(), "postgres://db:5433/runs");
        assert!(!format!("{place:?}").contains("s3cret"), "{place:?}");
        let place = Place::read("", file.clone()).unwrap();
        assert!(matches!(place, Place::Sqlite(path) if path == file));
    }

    #[test]
    fn an_address_of_another_kind_is_refused_with_what_would_be_right() {
        for (url, found) in [
            ("mysql://me:s3cret@db/runs", "mysql://… is neither"),
            ("sqlite:runs.sqlite", "this is neither"),
            ("me:s3cret@db", "this is neither"),
            ("postgres://me:s3cret@db:port/runs", "invalid port number"),
            ("postgres://me:s3cret@db/runs?sslmode=odd", "odd"),
        ] {
            let error = Place::read(url, PathBuf::new()).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
