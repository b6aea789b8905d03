//! Runs: submitted once under a key, moved from state to state.

use federation::event::Event;
use federation::job::JobDraft;
use federation::run::{Command, NotAllowed, RunState};
use federation::{Digest, RunId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;
use telemetry::trace::TraceContext;

use super::statements::{Operation, Subject, Write};
use super::{Store, StoreError, count, encoded, events, json, stored, text};

/// A run as it is submitted.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id, if the key is new.
    pub run: RunId,
    /// Chosen by the caller.
    pub idempotency_key: String,
    /// What to do.
    pub job: JobDraft,
    /// Of the job.
    pub job_digest: Digest,
    /// Of the data set's manifest at this moment; the run stays with it.
    pub dataset_digest: Digest,
    /// Where it is submitted, for whoever follows it.
    pub trace: Option<TraceContext>,
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub enum Submission {
    /// A new run.
    Started(RunRow),
    /// The run that the same key started earlier.
    Existed(RunRow),
}

/// A stored run.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Its id.
    pub run: RunId,
    /// Where it is in its life.
    pub state: RunState,
    /// Why, for a person.
    pub reason: String,
    /// What to do.
    pub job: JobDraft,
    /// Of the job.
    pub job_digest: Digest,
    /// Of the data set's manifest.
    pub dataset_digest: Digest,
    /// Where it was submitted: a `traceparent`, if it was traced.
    pub traceparent: Option<String>,
    /// What others say about the same trace.
    pub tracestate: Option<String>,
    /// Rounds whose model stands.
    pub rounds_committed: u32,
    /// Of the last committed round.
    pub accuracy: Option<f64>,
    /// Of the last committed round.
    pub loss: Option<f64>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Store {
    /// Stores a run, unless its key is known.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn submit(&self, new: &NewRun, now: Timestamp) -> Result<Submission, StoreError> {
        let mut write = self.write().await?;
        let query =
            sqlx::query("SELECT * FROM runs WHERE idempotency_key = $1").bind(&new.idempotency_key);
        let known = write.one(Subject::Run, query).await?;
        if let Some(row) = known {
            return Ok(Submission::Existed(read(&row)?));
        }
        insert(&mut write, new, now).await?;
        let event = Event::RunStateChanged {
            state: RunState::Pending,
            reason: "submitted".to_owned(),
        };
        events::append(&mut write, new.run, now, &event).await?;
        let row = fetch(&mut write, new.run).await?;
        self.commit(write).await?;
        row.map(Submission::Started)
            .ok_or_else(|| StoreError::Corrupt {
                column: "run",
                problem: "a run vanished while it was stored".to_owned(),
            })
    }

    /// The run that was submitted under `key`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn run_of_key(&self, key: &str) -> Result<Option<RunRow>, StoreError> {
        let query = sqlx::query("SELECT * FROM runs WHERE idempotency_key = $1").bind(key);
        let row = self.one(Subject::Run, query).await?;
        row.as_ref().map(read).transpose()
    }

    /// The run, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        let query = sqlx::query("SELECT * FROM runs WHERE run = $1").bind(run.to_string());
        let row = self.one(Subject::Run, query).await?;
        row.as_ref().map(read).transpose()
    }

    /// Runs from the newest on, those before `before` if given.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn runs(&self, before: Option<RunId>, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        // Ids are UUIDv7, so their order is the order of submission.
        // No id begins with a g, which comes after their digits in the order of every language.
        let before = before.map_or_else(|| "g".to_owned(), |run| run.to_string());
        let query = sqlx::query("SELECT * FROM runs WHERE run < $1 ORDER BY run DESC LIMIT $2")
            .bind(before)
            .bind(i64::from(limit));
        let rows = self.all(Subject::Run, query).await?;
        rows.iter().map(read).collect()
    }

    /// The runs that have not ended, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn unfinished_runs(&self) -> Result<Vec<RunId>, StoreError> {
        let query = sqlx::query(
            "SELECT run FROM runs WHERE state NOT IN ('completed', 'failed', 'cancelled')
             ORDER BY run",
        );
        let rows = self.all(Subject::Run, query).await?;
        rows.iter().map(|row| text(row, "run")).collect()
    }

    /// Moves a run to `to`, if it is still in `from`. Says whether it was.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn move_run(
        &self,
        run: RunId,
        from: RunState,
        to: RunState,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let moved = set_state(&mut write, run, from, to, reason, now).await?;
        if moved {
            self.commit(write).await?;
        }
        Ok(moved)
    }

    /// Ends a run as failed, if it has not ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn fail_run(
        &self,
        run: RunId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        if fail(&mut write, run, reason, now).await? {
            self.commit(write).await?;
        }
        Ok(())
    }

    /// Carries out a person's command.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the inner error when the run's state does not allow it.
    pub async fn command(
        &self,
        run: RunId,
        command: Command,
        now: Timestamp,
    ) -> Result<Option<Result<RunRow, NotAllowed>>, StoreError> {
        let mut write = self.write().await?;
        let Some(row) = fetch(&mut write, run).await? else {
            return Ok(None);
        };
        let to = match row.state.after(command) {
            Ok(to) => to,
            Err(not_allowed) => return Ok(Some(Err(not_allowed))),
        };
        if to != row.state {
            let reason = match command {
                Command::Cancel => "cancelled by a user",
                Command::Pause => "paused by a user",
                Command::Resume => "resumed by a user",
            };
            set_state(&mut write, run, row.state, to, reason, now).await?;
        }
        let row = fetch(&mut write, run).await?;
        self.commit(write).await?;
        Ok(row.map(Ok))
    }
}

/// Ends a run as failed. Says whether it had not ended.
pub(super) async fn fail(
    write: &mut Write,
    run: RunId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // The state alone: the rest of the row may be what does not read.
    let query = sqlx::query("SELECT state FROM runs WHERE run = $1").bind(run.to_string());
    let row = write.one(Subject::Run, query).await?;
    let state: Option<RunState> = row.as_ref().map(|row| text(row, "state")).transpose()?;
    let Some(state) = state.filter(|state| !state.is_final()) else {
        return Ok(false);
    };
    set_state(write, run, state, RunState::Failed, reason, now).await?;
    Ok(true)
}

async fn insert(write: &mut Write, new: &NewRun, now: Timestamp) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO runs (run, state, reason, job, job_digest, idempotency_key, dataset_digest,
                           rounds_committed, created_at, traceparent, tracestate)
         VALUES ($1, 'pending', '', $2, $3, $4, $5, 0, $6, $7, $8)",
    )
    .bind(new.run.to_string())
    .bind(encoded(&new.job)?)
    .bind(new.job_digest.to_string())
    .bind(&new.idempotency_key)
    .bind(new.dataset_digest.to_string())
    .bind(stored(now.0))
    .bind(new.trace.as_ref().map(TraceContext::traceparent))
    .bind(new.trace.as_ref().and_then(|trace| trace.state.as_deref()));
    write.then(Operation::Insert, Subject::Run, query).await
}

pub(super) async fn set_state(
    write: &mut Write,
    run: RunId,
    from: RunState,
    to: RunState,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let finished = to.is_final().then(|| stored(now.0));
    let query = sqlx::query(
        "UPDATE runs SET state = $3, reason = $4, finished_at = $5 WHERE run = $1 AND state = $2",
    )
    .bind(run.to_string())
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(reason)
    .bind(finished);
    let changed = write.change(Operation::Update, Subject::Run, query).await?;
    if changed == 0 {
        return Ok(false);
    }
    let event = Event::RunStateChanged {
        state: to,
        reason: reason.to_owned(),
    };
    events::append(write, run, now, &event).await?;
    Ok(true)
}

/// The state of a run that neither rests nor has ended.
pub(super) async fn state_in_work(
    write: &mut Write,
    run: RunId,
) -> Result<Option<RunState>, StoreError> {
    let query = sqlx::query("SELECT state FROM runs WHERE run = $1").bind(run.to_string());
    let row = write.one(Subject::Run, query).await?;
    let state = row.as_ref().map(|row| text(row, "state")).transpose()?;
    Ok(state.filter(|state| is_in_work(*state)))
}

/// Whether a run in this state neither rests nor has ended.
pub(super) fn is_in_work(state: RunState) -> bool {
    state != RunState::Paused && !state.is_final()
}

async fn fetch(write: &mut Write, run: RunId) -> Result<Option<RunRow>, StoreError> {
    let query = sqlx::query("SELECT * FROM runs WHERE run = $1").bind(run.to_string());
    let row = write.one(Subject::Run, query).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<RunRow, StoreError> {
    let finished_at: Option<i64> = row.try_get("finished_at")?;
    Ok(RunRow {
        run: text(row, "run")?,
        state: text(row, "state")?,
        reason: row.try_get("reason")?,
        job: json(row, "job")?,
        job_digest: text(row, "job_digest")?,
        dataset_digest: text(row, "dataset_digest")?,
        traceparent: row.try_get("traceparent")?,
        tracestate: row.try_get("tracestate")?,
        rounds_committed: count(row, "rounds_committed")?,
        accuracy: row.try_get("accuracy")?,
        loss: row.try_get("loss")?,
        created_at: Timestamp(count(row, "created_at")?),
        finished_at: finished_at.map(|time| Timestamp(time.unsigned_abs())),
    })
}
