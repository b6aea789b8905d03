//! Events of a run, without a gap.

use std::borrow::Borrow;

use federation::event::Event;
use federation::{RunId, Timestamp};
use sqlx::AssertSqlSafe;

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
    for some in events.chunks(ROWS) {
        insert(write, run, some).await?;
    }
    Ok(())
}

async fn insert(
    write: &mut Write,
    run: RunId,
    events: &[(Timestamp, impl Borrow<Event>)],
) -> Result<(), StoreError> {
    let places = places(events.len(), 4);
    // Nobody else writes meanwhile.
    let statement = format!(
        "INSERT INTO events (run, sequence, time, body)
         SELECT column1, last + column2, column3, column4
         FROM (VALUES {places}) AS new,
             (SELECT COALESCE(MAX(sequence), 0) AS last FROM events WHERE run = $1) AS there",
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (number, (now, event)) in (1_i64..).zip(events) {
        query = query
            .bind(run.to_string())
            .bind(number)
            .bind(stored(now.0))
            .bind(encoded(event.borrow())?);
    }
    write.then(Operation::Insert, Subject::Event, query).await
}
