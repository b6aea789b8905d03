//! Statements that reach the database in one call.
//!
//! Each call to a file is made on a thread of its own, and to wake that takes longer than most
//! statements do. So what a transaction says without asking for an answer waits for the next
//! statement that has one, at the latest for the commit.

use std::fmt;

use futures::TryStreamExt;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AnyConnection, AssertSqlSafe, Either, Execute, Executor, query_with, raw_sql};

use super::meter::{Operation, Query, Subject};

/// Statements in their order, of which the last one is answered.
pub(super) struct Batch {
    places: Places,
    sql: String,
    arguments: AnyArguments,
    does: Vec<(Operation, Subject)>,
}

/// How a database is told which argument goes where. Statements are written with numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    /// `$1`, as PostgreSQL has it, which takes one statement in a call.
    Numbered,
    /// `?`, each with an argument of its own. To SQLite `$1` is a name, which it looks for among all
    /// names of a statement, when it prepares it and whenever it is asked for it: for an insertion of
    /// fifty rows that took longer than all else.
    InOrder,
}

impl Batch {
    /// No statement.
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            sql: String::new(),
            arguments: AnyArguments::default(),
            does: Vec::new(),
        }
    }

    /// What there is; none is left.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.places))
    }

    /// Whether more than one statement can be added.
    pub(super) fn joins(&self) -> bool {
        self.places == Places::InOrder
    }

    /// Adds a statement.
    pub(super) fn add(
        &mut self,
        operation: Operation,
        subject: Subject,
        mut query: Query<'_>,
    ) -> sqlx::Result<()> {
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
        let arguments = arguments.unwrap_or_default();
        self.does.push((operation, subject));
        match self.places {
            Places::Numbered => {
                self.sql.push_str(query.sql().as_str());
                self.arguments = arguments;
            }
            Places::InOrder => {
                if !self.sql.is_empty() {
                    self.sql.push_str(";\n");
                }
                self.push_in_order(query.sql().as_str(), &arguments);
            }
        }
        Ok(())
    }

    fn push_in_order(&mut self, statement: &str, arguments: &AnyArguments) {
        let mut parts = statement.split('$');
        self.sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            let place = number.parse().ok().and_then(|n: usize| n.checked_sub(1));
            if let Some(argument) = place.and_then(|place| arguments.values.0.get(place)) {
                self.arguments.values.0.push(argument.clone());
                self.sql.push('?');
                self.sql.push_str(rest);
            } else {
                self.sql.push('$');
                self.sql.push_str(part);
            }
        }
    }

    /// What each statement does to what.
    pub(super) fn does(&self) -> &[(Operation, Subject)] {
        &self.does
    }

    /// Has the database do all of them, up to one that fails.
    pub(super) async fn answer(self, connection: &mut AnyConnection) -> sqlx::Result<Answer> {
        let sql = AssertSqlSafe(self.sql);
        // What has no arguments is not prepared first, so that a server is asked once.
        let mut said = match self.arguments.values.0.is_empty() {
            true => connection.fetch_many(raw_sql(sql)),
            false => connection.fetch_many(query_with(sql, self.arguments)),
        };
        let mut answer = Answer::default();
        while let Some(next) = said.try_next().await? {
            match next {
                Either::Left(done) => answer.changed = done.rows_affected(),
                Either::Right(row) => answer.rows.push(row),
            }
        }
        Ok(answer)
    }
}

/// With the arguments, as those who listen hear it.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.sql, self.arguments.values.0)
    }
}

/// What the last of several statements says.
#[derive(Default)]
pub(super) struct Answer {
    /// How many rows it changed.
    pub(super) changed: u64,
    /// What it found, or what became of the rows that it changed.
    pub(super) rows: Vec<AnyRow>,
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Row as _};

    use super::*;

    const SUBJECT: Subject = Subject::Event;

    /// Statements that insert each of `numbers`, and one that finds them again from `least` on.
    fn inserts(numbers: &[i64], least: i64) -> Batch {
        let mut batch = Batch::new(Places::InOrder);
        for number in numbers {
            let insert = "INSERT INTO numbers (number, half) VALUES ($1, $1 / $2)";
            let insert = sqlx::query(insert).bind(*number).bind(2_i64);
            batch.add(Operation::Insert, SUBJECT, insert).unwrap();
        }
        let select = "SELECT half FROM numbers WHERE number >= $1 ORDER BY number";
        let select = sqlx::query(select).bind(least);
        batch.add(Operation::Select, SUBJECT, select).unwrap();
        batch
    }

    async fn numbers() -> AnyConnection {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect("sqlite::memory:").await.unwrap();
        let create = "CREATE TABLE numbers (number BIGINT PRIMARY KEY, half BIGINT NOT NULL)";
        connection.execute(create).await.unwrap();
        connection
    }

    #[test]
    fn a_place_has_an_argument_of_its_own_however_it_is_written() {
        let said = |places, statement: &'static str| {
            let mut batch = Batch::new(places);
            let query = sqlx::query(statement).bind(7_i64).bind(8_i64);
            batch.add(Operation::Select, SUBJECT, query).unwrap();
            format!("{batch:?}")
        };
        let statement = "a = $2 AND b IN ($1, $2) AND c <> '$' AND d = '$3'";
        let numbered = format!("{statement} [BigInt(7), BigInt(8)]");
        assert_eq!(said(Places::Numbered, statement), numbered);
        let in_order = "a = ? AND b IN (?, ?) AND c <> '$' AND d = '$3'";
        let in_order = format!("{in_order} [BigInt(8), BigInt(7), BigInt(8)]");
        assert_eq!(said(Places::InOrder, statement), in_order);
    }

    #[tokio::test]
    async fn each_statement_has_its_own_arguments_and_the_last_one_answers() {
        let mut connection = numbers().await;
        let answer = inserts(&[4, 6, 8], 6).answer(&mut connection).await;
        let rows = answer.unwrap().rows;
        let halves: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(halves, [3, 4]);

        let mut batch = inserts(&[10], 0);
        let update = sqlx::query("UPDATE numbers SET half = $1 WHERE number < $2");
        let update = update.bind(0_i64).bind(7_i64);
        batch.add(Operation::Update, SUBJECT, update).unwrap();
        assert_eq!(batch.answer(&mut connection).await.unwrap().changed, 2);
    }

    #[tokio::test]
    async fn nothing_is_done_after_a_statement_that_fails() {
        let mut connection = numbers().await;
        let answer = inserts(&[4, 4, 6], 0).answer(&mut connection).await;
        let error = answer.err().unwrap();
        assert!(error.as_database_error().unwrap().is_unique_violation());
        let rows = inserts(&[], 0).answer(&mut connection).await.unwrap().rows;
        assert_eq!(rows.len(), 1);
    }
}
