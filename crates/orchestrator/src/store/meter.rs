//! What is counted of statements and their connections, by what is done to what.

use std::fmt::{self, Debug};
use std::sync::OnceLock;
use std::time::Duration;

use seams::{Seam, Seams};
use sqlx::Any;
use sqlx::error::DatabaseError;
use telemetry::metrics::{Histogram, IntCounter, IntGauge, Raised};
use tokio::time::timeout;

use super::batch::Batch;
use super::connections::Connections;
use super::stored;
use crate::metrics::store as metrics;

/// A statement with its arguments. An `Option<f64>` is none of them: the driver declares an absent
/// one as a number of four bytes, and PostgreSQL then refuses the next one of eight.
pub(super) type Query<'q> = sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>;

/// What a statement says, for those who listen.
#[derive(Default)]
pub(super) struct Statement(String);

impl Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Begin,
    Commit,
    Select,
    Insert,
    Update,
    Delete,
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
    Leader,
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
    answer: Option<Duration>,
    pub(super) seams: Seams,
}

#[derive(Debug)]
struct Handles {
    queries: IntCounter,
    seconds: Histogram,
}

impl Meter {
    /// A statement that has taken longer than `answer` has failed.
    pub(super) fn new(metrics: metrics::Store, answer: Option<Duration>) -> Self {
        Self {
            waiting: metrics.waiting.of(metrics::DATABASE).clone(),
            handles: Default::default(),
            metrics,
            answer,
            seams: Seams::default(),
        }
    }

    /// What statements say, for those who listen.
    pub(super) fn hear(&self, batch: &Batch) -> Statement {
        match self.seams.are_heard() {
            true => Statement(format!("{batch:?}")),
            false => Statement::default(),
        }
    }

    /// Does `work`, a statement and what it takes to have a connection for it, through the seams.
    pub(super) async fn make<T>(
        &self,
        operation: Operation,
        statement: &Statement,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        self.seams
            .make(Seam::Store, operation.as_str(), statement, work)
            .await
    }

    /// Does `work`, a statement of a transaction, through the seams.
    pub(super) async fn make_within<T>(
        &self,
        operation: Operation,
        statement: &Statement,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        self.seams
            .within()
            .make(Seam::Store, operation.as_str(), statement, work)
            .await
    }

    /// Counts `work`, one call. Of several statements in it, each takes as long as any other.
    pub(super) async fn count<T>(
        &self,
        does: &[(Operation, Subject)],
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        let each: Vec<_> = does
            .iter()
            .map(|(what, to)| self.handles(*what, *to))
            .collect();
        for handles in &each {
            handles.queries.inc();
        }
        let mut seconds = each.iter().map(|handles| &handles.seconds);
        let timer = seconds.next().map(Histogram::start);
        let done = match self.answer {
            Some(answer) => timeout(answer, work).await.unwrap_or_else(|_elapsed| {
                let silent = std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("no answer in {answer:?}"),
                );
                Err(silent.into())
            }),
            None => work.await,
        };
        if let Some(timer) = timer {
            timer.stop_with(&seconds.collect::<Vec<_>>());
        }
        done.inspect_err(|error| {
            if let Some((last, _)) = does.last() {
                self.count_error(*last, error);
            }
        })
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

    pub(super) fn count_error(&self, operation: Operation, error: &sqlx::Error) {
        let labels = [operation.as_str(), kind_of(error)];
        self.metrics.errors.with_label_values(&labels).inc();
    }

    pub(super) fn wait(&self) -> Raised {
        Raised::new(&self.waiting)
    }

    /// Brings what is shown of the connections up to date.
    pub(super) fn look(&self, connections: &Connections) {
        let (active, idle) = connections.count();
        let Self { metrics, .. } = self;
        metrics
            .connections_idle
            .of(metrics::DATABASE)
            .set(stored(idle));
        metrics
            .connections_active
            .of(metrics::DATABASE)
            .set(stored(active));
    }
}

/// Whether the connection is of no more use after `error`.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    matches!(kind_of(error), "io" | "connection")
}

/// One of [`metrics::ERRORS`].
fn kind_of(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Database(error) => kind_of_code(error.as_ref()),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => "connection",
        sqlx::Error::PoolTimedOut => "pool_timeout",
        sqlx::Error::PoolClosed => "pool_closed",
        _ => "other",
    }
}

/// PostgreSQL's codes have five characters, SQLite's are numbers of at most four digits.
fn kind_of_code(error: &dyn DatabaseError) -> &'static str {
    match error.code() {
        Some(code) if code.len() == 5 => kind_of_state(&code),
        Some(code) => code.parse().map_or("database", kind_of_number),
        None => "database",
    }
}

/// The first two characters are the class.
///
/// # Source
///
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn kind_of_state(state: &str) -> &'static str {
    match (&state[..2], state) {
        // Serialization failure and deadlock; lock not available, or a statement that took too
        // long.
        (_, "40001" | "40P01" | "55P03" | "57014") => "busy",
        (_, "25006") => "read_only",
        // A session that was idle within a transaction was ended.
        (_, "25P03") | ("08" | "57", _) => "connection",
        ("23", _) => "constraint",
        ("53", _) => "full",
        ("58", _) => "io",
        ("XX", _) => "corrupt",
        _ => "database",
    }
}

/// The low byte of an extended result code is the class.
///
/// # Source
///
/// <https://www.sqlite.org/rescode.html>
fn kind_of_number(code: i32) -> &'static str {
    match code & 0xff {
        5 | 6 => "busy",
        8 => "read_only",
        10 | 14 => "io",
        11 | 26 => "corrupt",
        13 => "full",
        19 => "constraint",
        _ => "database",
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
        assert_eq!(Subject::Leader.as_str(), "leader");
    }

    #[test]
    fn every_error_has_a_kind_of_the_list() {
        let errors = [
            (sqlx::Error::PoolTimedOut, "pool_timeout"),
            (sqlx::Error::PoolClosed, "pool_closed"),
            (sqlx::Error::RowNotFound, "other"),
            (
                sqlx::Error::Io(std::io::ErrorKind::Other.into()),
                "connection",
            ),
        ];
        for (error, kind) in errors {
            assert_eq!(kind_of(&error), kind);
            assert!(metrics::ERRORS.contains(&kind));
        }
        let states = [
            ("23505", "constraint"),
            ("40001", "busy"),
            ("55P03", "busy"),
            ("57014", "busy"),
            ("57P01", "connection"),
            ("08006", "connection"),
            ("25P03", "connection"),
            ("25006", "read_only"),
            ("53100", "full"),
            ("58030", "io"),
            ("XX001", "corrupt"),
            ("42P01", "database"),
        ];
        for (state, kind) in states {
            assert_eq!(kind_of_state(state), kind, "{state}");
            assert!(metrics::ERRORS.contains(&kind));
        }
        for (number, kind) in [(5, "busy"), (2067, "constraint"), (522, "io")] {
            assert_eq!(kind_of_number(number), kind, "{number}");
        }
    }
}
