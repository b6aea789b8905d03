//! Who leads: of several processes at one store, the one that may write.
//!
//! A leader holds a lease, which it renews in time. Whoever takes over begins a term of its own,
//! with a higher epoch, and from then on each transaction of an earlier term is refused: the row
//! that holds the epoch is the writers' lock, so that none of them is between its check and its
//! commit. A lease that has run out takes nothing from its holder while nobody else wants it.
//!
//! On a server, its own clock says what has run out, so that hosts may differ about the time. A
//! file has one host, and the caller says what time it is.

use std::sync::PoisonError;
use std::time::Duration;

use federation::Timestamp;
use sqlx::Row;

use super::statements::{Durable, Operation, Subject, Write};
use super::{Store, StoreError, count, stored};

/// Where commits are told to other processes at the server.
pub(super) const CHANNEL: &str = "pangea_commits";

/// A term of leading. Later terms are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(i64);

/// What a process is after it asked to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It leads, in this term.
    Leads(Epoch),
    /// Another one leads.
    StandsBy {
        /// Who.
        leader: String,
        /// For how long, unless it renews its lease.
        left: Duration,
    },
}

/// What a store may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fence {
    /// Nobody asked to lead: there is one process.
    None,
    /// Another process leads.
    StandsBy,
    /// Write in this term.
    Term(Epoch),
}

/// The row of who leads.
struct Lease {
    holder: String,
    epoch: Epoch,
    expires_at: u64,
}

impl Store {
    /// Asks to lead for as long as `lease` under the name of `holder`. It does if nobody leads, if
    /// the leader's lease has run out, or if the leader has the same name, which is this process or
    /// one before it. From then on this store and its clones write in this term alone, and, while
    /// another one leads, not at all.
    ///
    /// # Errors
    ///
    /// [`StoreError::Deposed`] if it led before and its term is over: what was begun in that term
    /// must not go on in another, which takes a store that was opened anew.
    pub async fn lead(
        &self,
        holder: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        // Whoever asks may write after the answer alone, even if that gets lost.
        if self.fence() == Fence::None {
            self.set_fence(Fence::StandsBy);
        }
        let mut write = self.begin(Durable::AtOnce).await?;
        let held = self.lease(&mut write).await?;
        let now = self.time(&mut write, now).await?;
        let epoch = match self.fence() {
            Fence::Term(epoch) if epoch == held.epoch => epoch,
            Fence::Term(_) => return Err(held.deposed()),
            Fence::None | Fence::StandsBy => {
                let is_led = !held.holder.is_empty() && held.holder != holder;
                if is_led && held.expires_at > now {
                    return Ok(Standing::StandsBy {
                        left: Duration::from_millis(held.expires_at - now),
                        leader: held.holder,
                    });
                }
                Epoch(held.epoch.0 + 1)
            }
        };
        set_lease(&mut write, holder, epoch, until(now, lease)).await?;
        self.commit(write).await?;
        self.set_fence(Fence::Term(epoch));
        Ok(Standing::Leads(epoch))
    }

    /// Whether it has led since it was opened. Whether it still does is known to the next
    /// transaction.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.fence(), Fence::Term(_))
    }

    /// Goes on leading for as long as `lease` from now on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Deposed`] when another one leads.
    pub async fn renew(&self, lease: Duration, now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.begin(Durable::AtOnce).await?;
        let held = self.lease(&mut write).await?;
        if self.fence() != Fence::Term(held.epoch) {
            return Err(held.deposed());
        }
        let now = self.time(&mut write, now).await?;
        set_lease(&mut write, &held.holder, held.epoch, until(now, lease)).await?;
        self.commit(write).await
    }

    /// Leads no longer, so that another one need not wait. Nothing more is written in this term.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. A term that is over already, or that never was, is none.
    pub async fn step_down(&self) -> Result<(), StoreError> {
        if !self.leads() {
            return Ok(());
        }
        let mut write = self.begin(Durable::AtOnce).await?;
        let held = self.lease(&mut write).await?;
        if self.fence() != Fence::Term(held.epoch) {
            return Ok(());
        }
        set_lease(&mut write, "", Epoch(held.epoch.0 + 1), 0).await?;
        self.commit(write).await
    }

    /// Makes sure that this process may write, and, on a server, that no other one does meanwhile.
    pub(super) async fn check_fence(&self, write: &mut Write) -> Result<(), StoreError> {
        if !self.is_shared() && self.fence() == Fence::None {
            return Ok(());
        }
        let held = self.lease(write).await?;
        match self.fence() {
            Fence::None => Ok(()),
            Fence::Term(epoch) if epoch == held.epoch => Ok(()),
            Fence::Term(_) | Fence::StandsBy => Err(held.deposed()),
        }
    }

    /// Reads who leads. On a server that takes the writers' lock until the transaction ends, and
    /// tells the others when it is committed.
    async fn lease(&self, write: &mut Write) -> Result<Lease, StoreError> {
        let query = if self.is_shared() {
            // Who had to wait for the row sees it as the one before has left it.
            let query = sqlx::query(
                "SELECT holder, epoch, expires_at, pg_notify($1, $2) FROM leader FOR UPDATE",
            );
            query.bind(CHANNEL).bind(&*self.name)
        } else {
            sqlx::query("SELECT holder, epoch, expires_at FROM leader")
        };
        let row = write.one(Subject::Leader, query).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt {
            column: "holder",
            problem: "the row of who leads is missing".to_owned(),
        })?;
        Ok(Lease {
            holder: row.try_get("holder")?,
            epoch: Epoch(row.try_get("epoch")?),
            expires_at: count(&row, "expires_at")?,
        })
    }

    /// What time it is, in milliseconds since the Unix epoch.
    async fn time(&self, write: &mut Write, now: Timestamp) -> Result<u64, StoreError> {
        if !self.is_shared() {
            return Ok(now.0);
        }
        // Not now(), which is when the transaction began and may have begun to wait.
        let query = sqlx::query(
            "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now",
        );
        let row = write.one(Subject::Leader, query).await?;
        let row = row.ok_or(sqlx::Error::RowNotFound)?;
        count(&row, "now")
    }

    fn fence(&self) -> Fence {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_fence(&self, fence: Fence) {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = fence;
    }
}

impl Lease {
    fn deposed(self) -> StoreError {
        let nobody = self.holder.is_empty();
        StoreError::Deposed {
            leader: if nobody {
                "nobody".to_owned()
            } else {
                self.holder
            },
            epoch: self.epoch.0,
        }
    }
}

async fn set_lease(
    write: &mut Write,
    holder: &str,
    epoch: Epoch,
    expires_at: u64,
) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE leader SET holder = $1, epoch = $2, expires_at = $3")
        .bind(holder)
        .bind(epoch.0)
        .bind(stored(expires_at));
    write.then(Operation::Update, Subject::Leader, query).await
}

fn until(now: u64, lease: Duration) -> u64 {
    now.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX))
}
