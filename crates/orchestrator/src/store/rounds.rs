//! Rounds: opened with a cohort, closed, committed or abandoned.

use std::collections::BTreeMap;

use federation::event::{Event, RoundOutcome};
use federation::round::{Phase, Plan};
use federation::{ClientId, Digest, RunId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::statements::{Operation, Subject, Write};
use super::{Store, StoreError, count, encoded, events, json, runs, stored, text};

/// A round that has not ended, with what is needed to go on.
#[derive(Debug, Clone)]
pub struct OpenRound {
    /// From 1.
    pub number: u32,
    /// Training or aggregating.
    pub phase: Phase,
    /// Who was asked, ascending.
    pub cohort: Vec<ClientId>,
    /// How many must report.
    pub quorum: usize,
    /// The parameters that training started from.
    pub base: Digest,
    /// When it opened.
    pub opened_at: Timestamp,
    /// The attempt in which each client's work was last queued.
    pub attempts: BTreeMap<ClientId, u32>,
}

/// A round for those who look back.
#[derive(Debug, Clone)]
pub struct RoundRow {
    /// From 1.
    pub number: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// Who was asked, ascending.
    pub cohort: Vec<ClientId>,
    /// How many had to report.
    pub quorum: u32,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it was committed or abandoned.
    pub closed_at: Option<Timestamp>,
    /// Why it was abandoned, for a person.
    pub reason: String,
    /// What it achieved, once committed.
    pub outcome: Option<RoundOutcome>,
}

impl Store {
    /// Stores a round that opens, once. Says whether it does: a run that a person paused or ended
    /// in the meantime opens none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn open_round(&self, run: RunId, plan: &Plan) -> Result<bool, StoreError> {
        let mut write = self.write_ahead().await?;
        let cohort = encoded(&plan.cohort)?;
        let stands = standing(&mut write, run, plan.number).await?;
        if !stands.is_in_work {
            return Ok(false);
        }
        let same = ("training".to_owned(), cohort.clone(), plan.base.to_string());
        if stands.round == Some(same) {
            return Ok(true);
        }
        let query = sqlx::query(
            "INSERT INTO rounds (run, round, phase, cohort, quorum, base, opened_at, reason)
             VALUES ($1, $2, 'training', $3, $4, $5, $6, '')",
        )
        .bind(run.to_string())
        .bind(i64::from(plan.number))
        .bind(cohort)
        .bind(stored(plan.quorum))
        .bind(plan.base.to_string())
        .bind(stored(plan.opened_at.0));
        write.then(Operation::Insert, Subject::Round, query).await?;
        let event = Event::RoundOpened {
            round: plan.number,
            cohort: u32::try_from(plan.cohort.len()).unwrap_or(u32::MAX),
            quorum: u32::try_from(plan.quorum).unwrap_or(u32::MAX),
        };
        events::append(&mut write, run, plan.opened_at, &event).await?;
        self.commit(write).await?;
        Ok(true)
    }

    /// The run's round that has not ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn unfinished_round(&self, run: RunId) -> Result<Option<OpenRound>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM rounds WHERE run = $1 AND phase NOT IN ('committed', 'abandoned')
             ORDER BY round DESC LIMIT 1",
        )
        .bind(run.to_string());
        let row = self.one(Subject::Round, query).await?;
        let Some(row) = row else { return Ok(None) };
        let number: u32 = count(&row, "round")?;
        Ok(Some(OpenRound {
            number,
            phase: phase(&row)?,
            cohort: json(&row, "cohort")?,
            quorum: count(&row, "quorum")?,
            base: text(&row, "base")?,
            opened_at: Timestamp(count(&row, "opened_at")?),
            attempts: self.attempts(run, number).await?,
        }))
    }

    async fn attempts(
        &self,
        run: RunId,
        round: u32,
    ) -> Result<BTreeMap<ClientId, u32>, StoreError> {
        let query =
            sqlx::query("SELECT client, attempt FROM attempts WHERE run = $1 AND round = $2")
                .bind(run.to_string())
                .bind(i64::from(round));
        let rows = self.all(Subject::Attempt, query).await?;
        let attempt = |row| Ok((ClientId(count(row, "client")?), count(row, "attempt")?));
        rows.iter().map(attempt).collect()
    }

    /// Forgets the rounds after `last` and their receipts: they started from a model that was lost
    /// before it was committed.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn forget_rounds(&self, run: RunId, last: u32) -> Result<(), StoreError> {
        let of_run = |statement: &'static str| {
            let query = sqlx::query(statement).bind(run.to_string());
            query.bind(i64::from(last))
        };
        let later = of_run("SELECT round FROM rounds WHERE run = $1 AND round > $2 LIMIT 1");
        if self.one(Subject::Round, later).await?.is_none() {
            return Ok(());
        }
        let mut write = self.write().await?;
        for (subject, statement) in [
            (
                Subject::Receipt,
                "DELETE FROM receipts WHERE run = $1 AND round > $2",
            ),
            (
                Subject::Attempt,
                "DELETE FROM attempts WHERE run = $1 AND round > $2",
            ),
            (
                Subject::Round,
                "DELETE FROM rounds WHERE run = $1 AND round > $2",
            ),
        ] {
            let query = of_run(statement);
            write.then(Operation::Delete, subject, query).await?;
        }
        self.commit(write).await
    }

    /// Notes that a client's work is queued once more, and why. What follows from the same failure
    /// is noted once; a failure from which nothing follows is told as often as it is noted.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn retry(
        &self,
        run: RunId,
        round: u32,
        again: &[(ClientId, u32)],
        now: Timestamp,
        event: &Event,
    ) -> Result<(), StoreError> {
        let mut write = self.write_ahead().await?;
        let mut changed = 0;
        for (client, attempt) in again {
            changed += set_attempt(&mut write, run, round, *client, *attempt).await?;
        }
        if changed == 0 && !again.is_empty() {
            return Ok(());
        }
        events::append(&mut write, run, now, event).await?;
        self.commit(write).await
    }

    /// Notes that no report counts in a round any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn close_training(&self, run: RunId, round: u32) -> Result<(), StoreError> {
        let mut write = self.write_ahead().await?;
        set_phase(&mut write, run, round, Phase::Aggregating).await?;
        self.commit(write).await
    }

    /// Notes, once, that a round's checkpoint is written. Says whether it is noted: a run that a person
    /// paused or ended in the meantime commits nothing, and a round of which a power cut took what closed
    /// it is made again.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn commit_round(
        &self,
        run: RunId,
        outcome: &RoundOutcome,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let round = i64::from(outcome.round);
        let stands = standing(&mut write, run, outcome.round).await?;
        let phase = stands.round.as_ref().map(|(phase, ..)| phase.as_str());
        match phase {
            Some("committed") => return Ok(true),
            Some("aggregating" | "evaluating") if stands.is_in_work => {}
            _ => return Ok(false),
        }
        let query = sqlx::query(
            "UPDATE rounds SET phase = 'committed', closed_at = $3, outcome = $4
             WHERE run = $1 AND round = $2",
        )
        .bind(run.to_string())
        .bind(round)
        .bind(stored(now.0))
        .bind(encoded(outcome)?);
        write.then(Operation::Update, Subject::Round, query).await?;
        let query = sqlx::query(
            "UPDATE runs SET rounds_committed = $2, accuracy = $3, loss = $4 WHERE run = $1",
        )
        .bind(run.to_string())
        .bind(round)
        .bind(outcome.accuracy)
        .bind(outcome.loss);
        write.then(Operation::Update, Subject::Run, query).await?;
        let event = Event::RoundCommitted(outcome.clone());
        events::append(&mut write, run, now, &event).await?;
        self.commit(write).await?;
        Ok(true)
    }

    /// Notes, once, that a round ended without a model, and that its run has failed with it: a run
    /// that went on could not open the round again.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn abandon_round(
        &self,
        run: RunId,
        round: u32,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let query = sqlx::query(
            "UPDATE rounds SET phase = 'abandoned', closed_at = $3, reason = $4
             WHERE run = $1 AND round = $2 AND phase <> 'abandoned'",
        )
        .bind(run.to_string())
        .bind(i64::from(round))
        .bind(stored(now.0))
        .bind(reason);
        let changed = write
            .change(Operation::Update, Subject::Round, query)
            .await?;
        if changed == 0 {
            return Ok(());
        }
        let event = Event::RoundAbandoned {
            round,
            reason: reason.to_owned(),
        };
        events::append(&mut write, run, now, &event).await?;
        let reason = format!("round {round} was abandoned: {reason}");
        runs::fail(&mut write, run, &reason, now).await?;
        self.commit(write).await
    }

    /// What the run's committed rounds after `after` achieved, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn outcomes(
        &self,
        run: RunId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<RoundOutcome>, StoreError> {
        let query = sqlx::query(
            "SELECT outcome FROM rounds WHERE run = $1 AND round > $2 AND phase = 'committed'
             ORDER BY round LIMIT $3",
        )
        .bind(run.to_string())
        .bind(i64::from(after))
        .bind(i64::from(limit));
        let rows = self.all(Subject::Round, query).await?;
        rows.iter().map(|row| json(row, "outcome")).collect()
    }

    /// The run's rounds after `after`, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn rounds(
        &self,
        run: RunId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<RoundRow>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM rounds WHERE run = $1 AND round > $2 ORDER BY round LIMIT $3",
        )
        .bind(run.to_string())
        .bind(i64::from(after))
        .bind(i64::from(limit));
        let rows = self.all(Subject::Round, query).await?;
        rows.iter().map(read).collect()
    }
}

pub(super) async fn set_phase(
    write: &mut Write,
    run: RunId,
    round: u32,
    to: Phase,
) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE rounds SET phase = $3 WHERE run = $1 AND round = $2")
        .bind(run.to_string())
        .bind(i64::from(round))
        .bind(to.as_str());
    write.then(Operation::Update, Subject::Round, query).await
}

/// What is known of a run and one of its rounds.
struct Standing {
    /// Whether the run neither rests nor has ended.
    is_in_work: bool,
    /// The round's phase, its cohort as it is stored, and its base, if it was opened.
    round: Option<(String, String, String)>,
}

async fn standing(write: &mut Write, run: RunId, round: u32) -> Result<Standing, StoreError> {
    let query = sqlx::query(
        "SELECT runs.state, rounds.phase, rounds.cohort, rounds.base FROM runs
         LEFT JOIN rounds ON rounds.run = runs.run AND rounds.round = $2 WHERE runs.run = $1",
    )
    .bind(run.to_string())
    .bind(i64::from(round));
    let row = write.one(Subject::Round, query).await?;
    let Some(row) = row else {
        return Ok(Standing {
            is_in_work: false,
            round: None,
        });
    };
    let phase: Option<String> = row.try_get("phase")?;
    let round = phase.map(|phase| {
        let (cohort, base) = (row.try_get("cohort")?, row.try_get("base")?);
        Ok::<_, sqlx::Error>((phase, cohort, base))
    });
    Ok(Standing {
        is_in_work: runs::is_in_work(text(&row, "state")?),
        round: round.transpose()?,
    })
}

/// Says how many rows it changed: none, if it was this attempt already.
pub(super) async fn set_attempt(
    write: &mut Write,
    run: RunId,
    round: u32,
    client: ClientId,
    attempt: u32,
) -> Result<u64, StoreError> {
    let query = sqlx::query(
        "INSERT INTO attempts (run, round, client, attempt) VALUES ($1, $2, $3, $4)
         ON CONFLICT (run, round, client) DO UPDATE SET attempt = excluded.attempt
             WHERE attempts.attempt <> excluded.attempt",
    )
    .bind(run.to_string())
    .bind(i64::from(round))
    .bind(i64::from(client.0))
    .bind(i64::from(attempt));
    write
        .change(Operation::Insert, Subject::Attempt, query)
        .await
}

fn read(row: &AnyRow) -> Result<RoundRow, StoreError> {
    let closed_at: Option<i64> = row.try_get("closed_at")?;
    let outcome: Option<String> = row.try_get("outcome")?;
    Ok(RoundRow {
        number: count(row, "round")?,
        phase: phase(row)?,
        cohort: json(row, "cohort")?,
        quorum: count(row, "quorum")?,
        opened_at: Timestamp(count(row, "opened_at")?),
        closed_at: closed_at.map(|time| Timestamp(time.unsigned_abs())),
        reason: row.try_get("reason")?,
        outcome: if outcome.is_some() {
            Some(json(row, "outcome")?)
        } else {
            None
        },
    })
}

fn phase(row: &AnyRow) -> Result<Phase, StoreError> {
    let word: String = row.try_get("phase")?;
    let found = Phase::ALL.into_iter().find(|phase| phase.as_str() == word);
    found.ok_or(StoreError::Corrupt {
        column: "phase",
        problem: format!("{word:?} is none"),
    })
}
