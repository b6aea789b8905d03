//! Events of a run, without a gap.

use std::borrow::Borrow;

use federation::event::Event;
use federation::{RunId, Timestamp};
use sqlx::{AssertSqlSafe, Row};

use super::statements::{Operation, ROWS, Subject, Write, places};
use super::{Store, StoreError, count, encoded, json, stored};

/// Most events read at once.
pub const EVENTS_AT_ONCE: usize = 1000;

/// An event with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Counts the run's events, from 1.
    pub sequence: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What happened.
    pub event: Event,
}

impl Store {
    /// The events after `cursor`, oldest first; at most a page of them.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn events_after(
        &self,
        run: RunId,
        cursor: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        // SQLite plans a statement anew whenever it binds a limit.
        let query = sqlx::query(AssertSqlSafe(format!(
            "SELECT sequence, time, body FROM events
             WHERE run = $1 AND sequence > $2 ORDER BY sequence LIMIT {EVENTS_AT_ONCE}",
        )))
        .bind(run.to_string())
        .bind(stored(cursor));
        let rows = self.all(Subject::Event, query).await?;
        let event = |row| {
            Ok(StoredEvent {
                sequence: count(row, "sequence")?,
                time: Timestamp(count(row, "time")?),
                event: json(row, "body")?,
            })
        };
        rows.iter().map(event).collect()
    }

    /// Writes events that change no other fact.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn tell(&self, run: RunId, now: Timestamp, event: &Event) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        append(&mut write, run, now, event).await?;
        self.commit(write).await
    }
}

/// Gives `event` the run's next sequence.
pub(super) async fn append(
    write: &mut Write,
    run: RunId,
    now: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    append_all(write, run, &[(now, event)]).await
}

/// Gives events the run's next sequences, in their order.
pub(super) async fn append_all(
    write: &mut Write,
    run: RunId,
    events: &[(Timestamp, impl Borrow<Event>)],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut next = take_sequences(write, run, events.len()).await?;
    for some in events.chunks(ROWS) {
        insert(write, run, next, some).await?;
        next += stored(some.len());
    }
    Ok(())
}

/// Takes so many of the run's sequences; gives the first.
async fn take_sequences(write: &mut Write, run: RunId, count: usize) -> Result<i64, StoreError> {
    let query = sqlx::query(
        "UPDATE runs SET last_sequence = last_sequence + $2 WHERE run = $1 RETURNING last_sequence",
    )
    .bind(run.to_string())
    .bind(stored(count));
    let row = write
        .changed(Operation::Update, Subject::Run, query)
        .await?;
    let last: i64 = row.try_get("last_sequence")?;
    Ok(last - stored(count) + 1)
}

async fn insert(
    write: &mut Write,
    run: RunId,
    first: i64,
    events: &[(Timestamp, impl Borrow<Event>)],
) -> Result<(), StoreError> {
    let places = places(events.len(), 4);
    let statement = format!("INSERT INTO events (run, sequence, time, body) VALUES {places}");
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (sequence, (now, event)) in (first..).zip(events) {
        query = query
            .bind(run.to_string())
            .bind(sequence)
            .bind(stored(now.0))
            .bind(encoded(event.borrow())?);
    }
    write
        .change(Operation::Insert, Subject::Event, query)
        .await?;
    Ok(())
}
