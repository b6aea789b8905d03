//! Connections to the run store, each with one user at a time.
//!
//! A pool tries a connection when it lends it and when it gets it back, by a trip each. That is well
//! spent on a server, which may be gone. A file stays, so connections to one are kept here between
//! two uses, and the pool only makes and closes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

#[derive(Debug, Clone)]
pub(super) struct Connections {
    pub(super) pool: AnyPool,
    /// None to a server.
    kept: Option<Arc<Kept>>,
    patience: Duration,
}

#[derive(Debug)]
struct Kept {
    /// One for each connection that the pool may make, so that nobody waits at the pool.
    permits: Arc<Semaphore>,
    /// None when all are closed.
    idle: Mutex<Option<Vec<PoolConnection<Any>>>>,
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Connection {
    connection: PoolConnection<Any>,
    kept: Option<(Arc<Kept>, OwnedSemaphorePermit)>,
}

impl Connections {
    /// Connections of a pool that waits so long for one of them: to a file, or to a server.
    pub(super) fn new(pool: AnyPool, is_file: bool) -> Self {
        let options = pool.options();
        let most = usize::try_from(options.get_max_connections()).unwrap_or(usize::MAX);
        let kept = || Kept {
            permits: Arc::new(Semaphore::new(most)),
            idle: Mutex::new(Some(Vec::new())),
        };
        Self {
            kept: is_file.then(|| Arc::new(kept())),
            patience: options.get_acquire_timeout(),
            pool,
        }
    }

    /// Waits for a connection that nobody uses.
    pub(super) async fn acquire(&self) -> sqlx::Result<Connection> {
        let Some(kept) = &self.kept else {
            let connection = self.pool.acquire().await?;
            return Ok(Connection {
                connection,
                kept: None,
            });
        };
        let permit = Arc::clone(&kept.permits).acquire_owned();
        let permit = match timeout(self.patience, permit).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(sqlx::Error::PoolClosed),
            Err(_elapsed) => return Err(sqlx::Error::PoolTimedOut),
        };
        let idle = kept.idle().as_mut().and_then(Vec::pop);
        let connection = match idle {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(Connection {
            connection,
            kept: Some((Arc::clone(kept), permit)),
        })
    }

    /// How many wait for work.
    pub(super) fn idle(&self) -> usize {
        let kept = self.kept.as_ref();
        let kept = kept.and_then(|kept| kept.idle().as_ref().map(Vec::len));
        self.pool.num_idle() + kept.unwrap_or(0)
    }

    /// Finishes what is under way and closes all of them.
    pub(super) async fn close(&self) {
        if let Some(kept) = &self.kept {
            kept.permits.close();
            drop(kept.idle().take());
        }
        self.pool.close().await;
    }
}

impl Kept {
    fn idle(&self) -> MutexGuard<'_, Option<Vec<PoolConnection<Any>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    pub(super) fn get(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Lets the next one have it, in a known state. Gives it back where that takes the pool.
    pub(super) fn keep(self) -> Option<Self> {
        let Self { connection, kept } = self;
        let Some((kept, permit)) = kept else {
            return Some(Self {
                connection,
                kept: None,
            });
        };
        if let Some(idle) = kept.idle().as_mut() {
            idle.push(connection);
            return None;
        }
        Some(Self {
            connection,
            kept: Some((kept, permit)),
        })
    }

    /// Returns when the pool has it.
    pub(super) async fn give_back(mut self) {
        self.connection.return_to_pool().await;
    }

    /// Returns when it is closed.
    pub(super) async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }
}
