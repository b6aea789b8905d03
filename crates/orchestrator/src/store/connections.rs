//! Connections to the run store, each with one user at a time.
//!
//! Those to a server are of a pool, which tries one when it lends it and when it gets it back, by a
//! trip each: a server may be gone. A file stays, so its connections are kept here between two uses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions, Connection as _, raw_sql};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::place::{self, Place};

/// How long a connection is waited for: until one is free, or until the server is there.
const ACQUIRE: Duration = Duration::from_secs(10);

/// How long the turn to write is waited for, as that of another process is.
const TURN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) enum Connections {
    File(Arc<Kept>),
    Server(AnyPool),
}

/// Connections to a file.
#[derive(Debug)]
pub(super) struct Kept {
    options: AnyConnectOptions,
    settings: &'static str,
    /// One for each connection that there may be.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Opened>>,
    most: u32,
    /// Held by who writes. SQLite has those who wait for another writer sleep for whole milliseconds.
    writing: Arc<tokio::sync::Mutex<()>>,
}

/// The turn to write to a file.
pub(super) type Turn = OwnedMutexGuard<()>;

/// A connection to a file, and when it was told that its commits shall be on the disk.
#[derive(Debug)]
pub(super) struct Opened {
    connection: AnyConnection,
    durable: Option<Durable>,
}

/// When a commit survives a power cut. The loss of the process it survives at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    AtOnce,
    /// With the next one that is durable at once; on a server, at once too.
    WithTheNext,
}

/// A connection in use.
#[derive(Debug)]
pub(super) enum Connection {
    // Boxed, as it is moved about.
    File(Box<Opened>, Arc<Kept>, OwnedSemaphorePermit),
    Server(PoolConnection<Any>),
}

impl Connections {
    /// Makes a first connection, waiting for a server that is not there yet.
    pub(super) async fn open(place: &Place) -> sqlx::Result<Self> {
        let (options, settings, most) = (place.options()?, place.settings(), place.connections());
        match place {
            Place::Sqlite(_) => {
                let kept = Arc::new(Kept {
                    options,
                    settings,
                    permits: Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1))),
                    idle: Mutex::default(),
                    most,
                    writing: Arc::default(),
                });
                let first = kept.make().await?;
                kept.idle().push(first);
                Ok(Self::File(kept))
            }
            Place::Postgres(_) => Ok(Self::Server(pool(options, settings, most).await?)),
        }
    }

    /// Waits for a connection that nobody uses; one to a file that was told the same of its commits
    /// already, if there is one.
    pub(super) async fn acquire(&self, durable: Option<Durable>) -> sqlx::Result<Connection> {
        let kept = match self {
            Self::Server(pool) => return pool.acquire().await.map(Connection::Server),
            Self::File(kept) => kept,
        };
        let permit = Arc::clone(&kept.permits).acquire_owned();
        let permit = match timeout(ACQUIRE, permit).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(sqlx::Error::PoolClosed),
            Err(_elapsed) => return Err(sqlx::Error::PoolTimedOut),
        };
        let idle = kept.take_idle(durable);
        let opened = match idle {
            Some(opened) => opened,
            None => kept.make().await?,
        };
        let kept = Arc::clone(kept);
        Ok(Connection::File(Box::new(opened), kept, permit))
    }

    /// Waits for the turn to write to a file, if this is one: the writers of this process come one after
    /// the other, in the order in which they asked.
    pub(super) async fn turn(&self) -> sqlx::Result<Option<Turn>> {
        let Self::File(kept) = self else {
            return Ok(None);
        };
        let turn = Arc::clone(&kept.writing).lock_owned();
        match timeout(TURN, turn).await {
            Ok(turn) => Ok(Some(turn)),
            Err(_elapsed) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// How many are in use, and how many wait for work.
    pub(super) fn count(&self) -> (usize, usize) {
        match self {
            Self::File(kept) => {
                let most = usize::try_from(kept.most).unwrap_or(1);
                let active = most.saturating_sub(kept.permits.available_permits());
                (active, kept.idle().len())
            }
            Self::Server(pool) => {
                let idle = pool.num_idle();
                let size = usize::try_from(pool.size()).unwrap_or(idle);
                (size.saturating_sub(idle), idle)
            }
        }
    }

    /// Finishes what is under way and closes all of them.
    pub(super) async fn close(&self) {
        let kept = match self {
            Self::Server(pool) => return pool.close().await,
            Self::File(kept) => kept,
        };
        // An error says that they were closed before.
        if let Ok(all) = kept.permits.acquire_many(kept.most).await {
            kept.permits.close();
            all.forget();
        }
        let idle = std::mem::take(&mut *kept.idle());
        for opened in idle {
            // It was in no transaction, and so has nothing to lose.
            drop(opened.connection.close().await);
        }
    }
}

impl Kept {
    async fn make(&self) -> sqlx::Result<Opened> {
        let mut connection = self.options.connect().await?;
        place::prepare(&mut connection, self.settings).await?;
        let durable = None;
        Ok(Opened {
            connection,
            durable,
        })
    }

    fn take_idle(&self, durable: Option<Durable>) -> Option<Opened> {
        let mut idle = self.idle();
        let same = idle.iter().rposition(|opened| opened.durable == durable);
        same.map(|place| idle.remove(place)).or_else(|| idle.pop())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    pub(super) fn get(&mut self) -> &mut AnyConnection {
        match self {
            Self::File(opened, ..) => &mut opened.connection,
            Self::Server(connection) => connection,
        }
    }

    /// Has its commits on the disk when `durable` says. A server's are there at once.
    pub(super) async fn tell(&mut self, durable: Durable) -> sqlx::Result<()> {
        let Self::File(opened, ..) = self else {
            return Ok(());
        };
        if opened.durable == Some(durable) {
            return Ok(());
        }
        // As plain text: SQLite obeys it when it reads it, and a statement that it has read once is
        // only carried out again.
        let statement = match durable {
            Durable::AtOnce => "PRAGMA synchronous = FULL",
            Durable::WithTheNext => "PRAGMA synchronous = NORMAL",
        };
        opened.durable = None;
        raw_sql(statement).execute(&mut opened.connection).await?;
        opened.durable = Some(durable);
        Ok(())
    }

    /// Lets the next one have it, in a known state, where that takes no trip; it is given back where
    /// it does.
    pub(super) fn keep(self) -> Option<Self> {
        match self {
            Self::File(opened, kept, permit) => {
                kept.idle().push(*opened);
                drop(permit);
                None
            }
            Self::Server(_) => Some(self),
        }
    }

    /// Returns when the next one can have it, in a known state.
    pub(super) async fn give_back(self) {
        if let Some(Self::Server(mut connection)) = self.keep() {
            // As when it is dropped, but awaited.
            connection.return_to_pool().await;
        }
    }

    /// Returns when it is closed. Another one may be made then.
    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::File(opened, _, permit) => {
                let closed = opened.connection.close().await;
                drop(permit);
                closed
            }
            Self::Server(connection) => connection.close().await,
        }
    }
}

async fn pool(
    options: AnyConnectOptions,
    settings: &'static str,
    most: u32,
) -> sqlx::Result<AnyPool> {
    let pool = AnyPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| Box::pin(place::prepare(connection, settings)))
        .connect_with(options.clone())
        .await;
    match pool {
        // What stands in the way is known to the one who knocks once more.
        Err(sqlx::Error::PoolTimedOut) => {
            let knocking = timeout(ACQUIRE, options.connect()).await;
            Err(match knocking {
                Ok(Err(error)) => error,
                Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
            })
        }
        pool => pool,
    }
}
