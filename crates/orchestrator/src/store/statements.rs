//! How statements reach the database: each counted and timed, by what it does to what.

use std::sync::{Arc, OnceLock};

use seams::{Seam, Seams};
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Sqlite, Transaction};
use telemetry::metrics::{Histogram, IntCounter, IntGauge, Raised};

use super::{Store, StoreError};
use crate::metrics::store as metrics;

/// A statement with its arguments.
type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Begin,
    Commit,
    Select,
    Insert,
    Update,
    // Of no statement: only its errors are counted.
    Acquire,
}

/// What it is done to: what a row stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject {
    Transaction,
    Dataset,
    Partition,
    Run,
    Round,
    Attempt,
    Receipt,
    Event,
    ModelVersion,
}

impl Operation {
    fn as_str(self) -> &'static str {
        metrics::OPERATIONS[self as usize]
    }
}

impl Subject {
    fn as_str(self) -> &'static str {
        metrics::MODELS[self as usize]
    }
}

/// Counts statements. Series appear with their first statement, and are looked up once.
#[derive(Debug)]
pub(super) struct Meter {
    metrics: metrics::Store,
    handles: [[OnceLock<Handles>; metrics::MODELS.len()]; metrics::OPERATIONS.len()],
    waiting: IntGauge,
    pub(super) seams: Seams,
}

#[derive(Debug)]
struct Handles {
    queries: IntCounter,
    seconds: Histogram,
}

impl Meter {
    pub(super) fn new(metrics: metrics::Store) -> Self {
        Self {
            waiting: metrics.waiting.of(metrics::DATABASE).clone(),
            handles: Default::default(),
            seams: Seams::default(),
            metrics,
        }
    }

    /// Counts `work`, one statement.
    async fn count<T>(
        &self,
        operation: Operation,
        subject: Subject,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        self.seams.pass(Seam::Store, operation.as_str());
        let handles = self.handles(operation, subject);
        handles.queries.inc();
        let timer = handles.seconds.start();
        let done = work.await;
        timer.stop();
        done.inspect_err(|error| self.count_error(operation, error))
    }

    fn handles(&self, operation: Operation, subject: Subject) -> &Handles {
        self.handles[operation as usize][subject as usize].get_or_init(|| {
            let labels = [operation.as_str(), subject.as_str()];
            Handles {
                queries: self.metrics.queries.with_label_values(&labels),
                seconds: self.metrics.seconds.with(&labels),
            }
        })
    }

    fn count_error(&self, operation: Operation, error: &sqlx::Error) {
        let labels = [operation.as_str(), kind_of(error)];
        self.metrics.errors.with_label_values(&labels).inc();
    }

    fn wait(&self) -> Raised {
        Raised::new(&self.waiting)
    }

    /// Brings what is shown of the pool up to date.
    pub(super) fn look(&self, pool: &SqlitePool) {
        let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
        let active = i64::from(pool.size()).saturating_sub(idle).max(0);
        let Self { metrics, .. } = self;
        metrics.connections_idle.of(metrics::DATABASE).set(idle);
        metrics.connections_active.of(metrics::DATABASE).set(active);
    }
}

/// One of [`metrics::ERRORS`].
fn kind_of(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Database(error) => kind_of_code(error.as_ref()),
        sqlx::Error::Io(_) => "io",
        sqlx::Error::PoolTimedOut => "pool_timeout",
        sqlx::Error::PoolClosed => "pool_closed",
        _ => "other",
    }
}

/// The low byte of an extended result code is the class.
///
/// # Source
///
/// <https://www.sqlite.org/rescode.html>
fn kind_of_code(error: &dyn DatabaseError) -> &'static str {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => "busy",
        Some(8) => "read_only",
        Some(10 | 14) => "io",
        Some(11 | 26) => "corrupt",
        Some(13) => "full",
        Some(19) => "constraint",
        _ => "database",
    }
}

impl Store {
    /// At most one row.
    pub(super) async fn one(
        &self,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        let mut connection = self.connection().await?;
        let fetching = query.fetch_optional(&mut *connection);
        Ok(self
            .meter
            .count(Operation::Select, subject, fetching)
            .await?)
    }

    /// All rows.
    pub(super) async fn all(
        &self,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut connection = self.connection().await?;
        let fetching = query.fetch_all(&mut *connection);
        Ok(self
            .meter
            .count(Operation::Select, subject, fetching)
            .await?)
    }

    /// A change that is a transaction of its own.
    pub(super) async fn change(
        &self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let changing = query.execute(&mut *connection);
        self.meter.count(operation, subject, changing).await?;
        Ok(())
    }

    async fn connection(&self) -> sqlx::Result<PoolConnection<Sqlite>> {
        let _waiting = self.meter.wait();
        let acquired = self.pool.acquire().await;
        acquired.inspect_err(|error| self.meter.count_error(Operation::Acquire, error))
    }

    // IMMEDIATE takes the write lock at once; a transaction that read first and wrote later could
    // find its reading outdated and fail.
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        let _waiting = self.meter.wait();
        let beginning = self.pool.begin_with("BEGIN IMMEDIATE");
        let begun = self
            .meter
            .count(Operation::Begin, Subject::Transaction, beginning);
        Ok(Write {
            transaction: begun.await?,
            meter: Arc::clone(&self.meter),
        })
    }

    pub(super) async fn commit(&self, write: Write) -> Result<(), StoreError> {
        let committing = write.transaction.commit();
        self.meter
            .count(Operation::Commit, Subject::Transaction, committing)
            .await?;
        self.commits.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// A transaction that writes. Dropped, it changes nothing.
#[derive(Debug)]
pub(super) struct Write {
    transaction: Transaction<'static, Sqlite>,
    meter: Arc<Meter>,
}

impl Write {
    /// At most one row.
    pub(super) async fn one(
        &mut self,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        let fetching = query.fetch_optional(&mut *self.transaction);
        Ok(self
            .meter
            .count(Operation::Select, subject, fetching)
            .await?)
    }

    /// A change; says how many rows it changed.
    pub(super) async fn change(
        &mut self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<u64, StoreError> {
        let changing = query.execute(&mut *self.transaction);
        let changed = self.meter.count(operation, subject, changing).await?;
        Ok(changed.rows_affected())
    }

    /// A change of one row, and what became of it.
    pub(super) async fn changed(
        &mut self,
        operation: Operation,
        subject: Subject,
        query: Query<'_>,
    ) -> Result<SqliteRow, StoreError> {
        let changing = query.fetch_one(&mut *self.transaction);
        Ok(self.meter.count(operation, subject, changing).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_that_of_its_label() {
        let operations = [
            Operation::Begin,
            Operation::Commit,
            Operation::Select,
            Operation::Insert,
            Operation::Update,
            Operation::Acquire,
        ];
        for operation in operations {
            let word = format!("{operation:?}").to_lowercase();
            assert_eq!(operation.as_str(), word);
        }
        let statements = &metrics::OPERATIONS[..metrics::STATEMENTS.len()];
        assert_eq!(statements, metrics::STATEMENTS);
        assert_eq!(Subject::Transaction.as_str(), "transaction");
        assert_eq!(Subject::Receipt.as_str(), "receipt");
        assert_eq!(Subject::ModelVersion.as_str(), "model_version");
    }

    #[test]
    fn every_error_has_a_kind_of_the_list() {
        let errors = [
            (sqlx::Error::PoolTimedOut, "pool_timeout"),
            (sqlx::Error::PoolClosed, "pool_closed"),
            (sqlx::Error::RowNotFound, "other"),
            (sqlx::Error::Io(std::io::ErrorKind::Other.into()), "io"),
        ];
        for (error, kind) in errors {
            assert_eq!(kind_of(&error), kind);
            assert!(metrics::ERRORS.contains(&kind));
        }
    }
}
