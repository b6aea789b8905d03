//! The few ways in which statements reach the database, each counted and timed.
//!
//! Those that write are in transactions, one at a time over all processes: a transaction begins by
//! taking the writers' lock, and, where a leader was asked for, by making sure that this is it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use seams::away::{self, Away};
use sqlx::any::AnyRow;
use sqlx::raw_sql;
use tokio::time::timeout;

use super::batch::{Answer, Batch, Places};
pub(super) use super::connections::Durable;
use super::connections::{Connection, Turn};
use super::meter::{Meter, Query, Statement, is_lost};
pub(super) use super::meter::{Operation, Subject};
use super::{Store, StoreError};

/// How long a connection may take to forget a transaction. One that is closed forgets it, too.
const ROLLBACK: Duration = Duration::from_secs(5);

impl Store {
    /// At most one row.
    pub(super) async fn one(
        &self,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Option<AnyRow>, StoreError> {
        let rows = self.all(subject, query).await?;
        Ok(rows.into_iter().next())
    }

    /// All rows.
    pub(super) async fn all(
        &self,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let mut batch = Batch::new(self.places());
        batch.add(Operation::Select, subject, query)?;
        let statement = self.meter.hear(&batch);
        let fetching = async {
            let mut held = self.held(None).await?;
            let answered = held.answer(&self.meter, batch).await;
            held.done(Use::None, answered)
        };
        let made = self.meter.make(Operation::Select, &statement, fetching);
        Ok(made.await?.rows)
    }

    /// A change that is a transaction of its own.
    pub(super) async fn change(
        &self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.then(operation, subject, query).await?;
        self.commit(write).await
    }

    /// Whether the store answers.
    ///
    /// # Errors
    ///
    /// [`StoreError::Statement`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut held = self.held(None).await?;
        let answered = raw_sql("SELECT 1").execute(held.start().get()).await;
        held.done(Use::None, answered)?;
        Ok(())
    }

    /// How the database is told which argument goes where.
    fn places(&self) -> Places {
        match self.is_shared() {
            true => Places::Numbered,
            false => Places::InOrder,
        }
    }

    async fn held(&self, durable: Option<Durable>) -> sqlx::Result<Held> {
        let _waiting = self.meter.wait();
        let away = away::go().await;
        let acquired = self.connections.acquire(durable).await;
        acquired
            .inspect_err(|error| self.meter.count_error(Operation::Acquire, error))
            .map(|connection| Held {
                connection: Some(connection),
                in_use: Use::None,
                turn: None,
                away,
            })
    }

    /// A transaction of who may write, which is on the disk when it is committed.
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        let mut write = self.begin(Durable::AtOnce).await?;
        self.check_fence(&mut write).await?;
        Ok(write)
    }

    /// A transaction of who may write, for what can be made again: a power cut may take it away,
    /// with all that was committed after it, up to the next one that is on the disk at once.
    pub(super) async fn write_ahead(&self) -> Result<Write, StoreError> {
        let mut write = self.begin(Durable::WithTheNext).await?;
        self.check_fence(&mut write).await?;
        Ok(write)
    }

    /// A transaction, whoever leads. On a server it does not hold the writers' lock yet.
    pub(super) async fn begin(&self, durable: Durable) -> Result<Write, StoreError> {
        let _waiting = self.meter.wait();
        let beginning = async {
            let turn = self.connections.turn().await;
            let turn =
                turn.inspect_err(|error| self.meter.count_error(Operation::Acquire, error))?;
            let mut held = self.held(Some(durable)).await?;
            held.turn = turn;
            let told = held.tell(durable).await;
            told.inspect_err(|error| self.meter.count_error(Operation::Begin, error))?;
            Ok(held)
        };
        let bare = Statement::default();
        let made = self.meter.make(Operation::Begin, &bare, beginning);
        let mut write = Write {
            held: made.await?,
            meter: Arc::clone(&self.meter),
            unsent: Batch::new(self.places()),
        };
        // In a file, IMMEDIATE takes the write lock at once; a transaction that read first and
        // wrote later could find its reading outdated and fail. On a server, each statement must
        // see what was committed before it, since the writers' lock is taken by the first one.
        let statement = match write.unsent.joins() {
            true => "BEGIN IMMEDIATE",
            false => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        };
        let query = sqlx::query(statement);
        write
            .then(Operation::Begin, Subject::Transaction, query)
            .await?;
        Ok(write)
    }

    /// Makes what was written last. An error leaves open whether it does, when the connection was
    /// lost on the way: every operation of the store can be made again.
    pub(super) async fn commit(&self, mut write: Write) -> Result<(), StoreError> {
        let query = sqlx::query("COMMIT");
        let committed = write.answer(Operation::Commit, Subject::Transaction, query);
        let committed = committed.await;
        // Those who wait for it look, also when it is not known whether it was made.
        self.commits.ring();
        committed?;
        write.held.in_use = Use::None;
        Ok(())
    }
}

/// A transaction that writes. Dropped, it changes nothing.
#[derive(Debug)]
pub(super) struct Write {
    held: Held,
    meter: Arc<Meter>,
    // What waits for the next statement with an answer, where the database takes several in one call.
    unsent: Batch,
}

impl Write {
    /// At most one row.
    pub(super) async fn one(
        &mut self,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Option<AnyRow>, StoreError> {
        let answer = self.answer(Operation::Select, subject, query).await?;
        Ok(answer.rows.into_iter().next())
    }

    /// A change; says how many rows it changed.
    pub(super) async fn change(
        &mut self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<u64, StoreError> {
        let answer = self.answer(operation, subject, query).await?;
        Ok(answer.changed)
    }

    /// A change of one row, and what became of it.
    pub(super) async fn changed(
        &mut self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<AnyRow, StoreError> {
        let rows = self.changed_rows(operation, subject, query).await?;
        let row = rows.into_iter().next();
        row.ok_or(StoreError::Statement(sqlx::Error::RowNotFound))
    }

    /// A change, and what became of the rows that it changed.
    pub(super) async fn changed_rows(
        &mut self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let answer = self.answer(operation, subject, query).await?;
        Ok(answer.rows)
    }

    /// A statement that has nothing to say, and may be made with the next one that has.
    pub(super) async fn then(
        &mut self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<(), StoreError> {
        if self.unsent.joins() {
            return Ok(self.unsent.add(operation, subject, query)?);
        }
        self.answer(operation, subject, query).await?;
        Ok(())
    }

    async fn answer(
        &mut self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Answer, StoreError> {
        let mut batch = self.unsent.take();
        batch.add(operation, subject, query)?;
        let statement = self.meter.hear(&batch);
        let answering = self.held.answer(&self.meter, batch);
        let made = self.meter.make_within(operation, &statement, answering);
        let answered = made.await;
        Ok(self.held.done(Use::Transaction, answered)?)
    }
}

/// Most rows that one statement inserts; each number of rows is a statement that a connection
/// prepares once.
pub(super) const ROWS: usize = 50;

/// The places of the values of so many rows, as in `($1, $2), ($3, $4)`.
pub(super) fn places(rows: usize, columns: usize) -> String {
    let mut places = String::new();
    for row in 0..rows {
        for column in 0..columns {
            places.push_str(match (row, column) {
                (0, 0) => "(",
                (_, 0) => "), (",
                _ => ", ",
            });
            let number = row * columns + column + 1;
            write!(places, "${number}").expect("a string takes everything");
        }
    }
    places.push(')');
    places
}

/// A connection in use, which goes back in a known state only: one that was broken off in the middle
/// of a statement may never answer again.
#[derive(Debug)]
struct Held {
    // None only while it is dropped.
    connection: Option<Connection>,
    in_use: Use,
    // To write, until it is back.
    turn: Option<Turn>,
    // Until it is back.
    away: Away,
}

/// What a connection is in.
#[derive(Debug, Clone, Copy)]
enum Use {
    None,
    Transaction,
    Statement,
}

impl Held {
    /// Has the connection's commits on the disk when `durable` says.
    async fn tell(&mut self, durable: Durable) -> sqlx::Result<()> {
        let told = self.start().tell(durable).await;
        self.done(Use::None, told)
    }

    /// What the last of several statements says.
    async fn answer(&mut self, meter: &Meter, batch: Batch) -> sqlx::Result<Answer> {
        let does = batch.does().to_vec();
        let answering = batch.answer(self.start().get());
        meter.count(&does, answering).await
    }

    /// The connection, for one call.
    fn start(&mut self) -> &mut Connection {
        self.in_use = Use::Statement;
        let connection = self.connection.as_mut();
        connection.expect("it is there until it is dropped")
    }

    /// The statement was answered, after which the connection is in `in_use`.
    fn done<T>(&mut self, in_use: Use, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        match &answer {
            Err(error) if is_lost(error) => {}
            // What fails to begin or to end a transaction leaves it open or not.
            Err(_) => self.in_use = Use::Transaction,
            Ok(_) => self.in_use = in_use,
        }
        answer
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let (in_use, turn) = (self.in_use, self.turn.take());
        let away = std::mem::take(&mut self.away);
        let connection = match in_use {
            Use::None => connection.keep(),
            Use::Transaction | Use::Statement => Some(connection),
        };
        let Some(mut connection) = connection else {
            return;
        };
        tokio::spawn(async move {
            let is_known = match in_use {
                Use::None => true,
                Use::Statement => false,
                Use::Transaction => {
                    let rolling = raw_sql("ROLLBACK").execute(connection.get());
                    matches!(timeout(ROLLBACK, rolling).await, Ok(Ok(_)))
                }
            };
            if is_known {
                connection.give_back().await;
            } else {
                drop(timeout(ROLLBACK, connection.close()).await);
            }
            drop((turn, away));
        });
    }
}
