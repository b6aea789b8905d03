//! Receipts: every report of an update, with its verdict.

use std::collections::HashSet;

use artifacts::{BlobRef, InvalidKey};
use federation::acceptance::Refusal;
use federation::event::Event;
use federation::round::Phase;
use federation::{ClientId, Digest, KernelClass, RunId, Timestamp, WorkerId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::meter::Query;
use super::statements::{Operation, ROWS, Subject, Write, places};
use super::{Store, StoreError, count, events, rounds, stored, text};

/// What became of a report.
pub type Verdict = Result<(), Refusal>;

/// A stored report.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Its round.
    pub round: u32,
    /// Whose data.
    pub client: ClientId,
    /// Which attempt at the work.
    pub attempt: u32,
    /// Which delivery of the task.
    pub lease_epoch: u32,
    /// Who trained.
    pub worker: WorkerId,
    /// Loss terms behind the update.
    pub num_examples: u64,
    /// Optimiser steps behind it.
    pub num_steps: u32,
    /// The class of the kernels that trained it, as far as that was said.
    pub kernel_class: Option<KernelClass>,
    /// How much it weighs in the mean.
    pub weight: f64,
    /// Mean training loss; may be NaN in a refused one.
    pub mean_loss: f64,
    /// Its size.
    pub bytes: u64,
    /// Of its bytes.
    pub digest: Digest,
    /// In which object it stands.
    pub key: String,
    /// From which byte on.
    pub offset: u64,
    /// Whether it counts.
    pub accepted: bool,
    /// Why not, in a word.
    pub reason: String,
    /// Why not, for a person.
    pub message: String,
    /// When it came.
    pub received_at: Timestamp,
}

impl Receipt {
    /// The bytes of the update.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`].
    pub fn update(&self) -> Result<BlobRef, InvalidKey> {
        Ok(BlobRef {
            key: self.key.parse()?,
            offset: self.offset,
            len: self.bytes,
            digest: self.digest,
        })
    }
}

/// A report, its verdict, and the attempts that follow from it.
pub type Judgement<'a> = (&'a Receipt, &'a Verdict, &'a [(ClientId, u32)]);

impl Store {
    /// Stores a report with its verdict, and the attempts that follow from it. The same report with
    /// the same verdict is stored once.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn receive(
        &self,
        run: RunId,
        receipt: &Receipt,
        verdict: &Verdict,
        again: &[(ClientId, u32)],
    ) -> Result<(), StoreError> {
        let report = (receipt, verdict, again);
        self.receive_all(run, &[report], None).await
    }

    /// Stores several reports at once, each as [`Self::receive`] does, and that a round's training
    /// `closes` with them.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn receive_all(
        &self,
        run: RunId,
        reports: &[Judgement<'_>],
        closes: Option<u32>,
    ) -> Result<(), StoreError> {
        let mut write = self.write_ahead().await?;
        let mut told_of = Vec::with_capacity(reports.len());
        for some in of_different_clients(reports) {
            let new = insert(&mut write, run, some).await?;
            for (receipt, verdict, again) in some {
                if !new.contains(&receipt.client) {
                    continue;
                }
                for (client, attempt) in *again {
                    rounds::set_attempt(&mut write, run, receipt.round, *client, *attempt).await?;
                }
                told_of.push((receipt.received_at, told(receipt, verdict)));
            }
        }
        events::append_all(&mut write, run, &told_of).await?;
        if let Some(round) = closes {
            rounds::set_phase(&mut write, run, round, Phase::Aggregating).await?;
        }
        self.commit(write).await
    }

    /// Takes back, once, the acceptance of an update that turned out to be damaged.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn revoke(
        &self,
        run: RunId,
        receipt: &Receipt,
        refusal: &Refusal,
        again: &[(ClientId, u32)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let query = sqlx::query(
            "UPDATE receipts SET accepted = 0, reason = $4, message = $5
             WHERE run = $1 AND round = $2 AND client = $3 AND accepted = 1",
        )
        .bind(run.to_string())
        .bind(i64::from(receipt.round))
        .bind(i64::from(receipt.client.0))
        .bind(refusal.reason())
        .bind(refusal.to_string());
        let revoked = write
            .change(Operation::Update, Subject::Receipt, query)
            .await?;
        if revoked == 0 {
            return Ok(());
        }
        rounds::set_phase(&mut write, run, receipt.round, Phase::Training).await?;
        for (client, attempt) in again {
            rounds::set_attempt(&mut write, run, receipt.round, *client, *attempt).await?;
        }
        let event = told(receipt, &Err(refusal.clone()));
        events::append(&mut write, run, now, &event).await?;
        self.commit(write).await
    }

    /// The reports of a round, by client and then in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn receipts(&self, run: RunId, round: u32) -> Result<Vec<Receipt>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM receipts WHERE run = $1 AND round = $2 ORDER BY client, position",
        )
        .bind(run.to_string())
        .bind(i64::from(round));
        let rows = self.all(Subject::Receipt, query).await?;
        rows.iter().map(read).collect()
    }

    /// The updates of a round that count, in canonical order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn accepted(&self, run: RunId, round: u32) -> Result<Vec<Receipt>, StoreError> {
        let mut receipts = self.receipts(run, round).await?;
        receipts.retain(|receipt| receipt.accepted);
        Ok(receipts)
    }
}

/// Cuts reports, in their order, into groups that one statement takes: none has two of a client.
fn of_different_clients<'a, 'b>(
    reports: &'b [Judgement<'a>],
) -> impl Iterator<Item = &'b [Judgement<'a>]> {
    let mut rest = reports;
    std::iter::from_fn(move || {
        let mut clients = HashSet::new();
        let mut is_next = |(receipt, ..): &Judgement<'_>| clients.insert(receipt.client);
        let count = rest
            .iter()
            .take(ROWS)
            .take_while(|row| is_next(row))
            .count();
        let (next, others) = rest.split_at(count);
        rest = others;
        (count > 0).then_some(next)
    })
}

/// Inserts receipts of different clients; says of which. Not of one whose receipt is there already:
/// whoever stored it may not have heard of it.
async fn insert(
    write: &mut Write,
    run: RunId,
    reports: &[Judgement<'_>],
) -> Result<HashSet<ClientId>, StoreError> {
    let places = places(reports.len(), 19);
    let statement = format!(
        "INSERT INTO receipts (run, round, client, position, attempt, lease_epoch, worker,
             num_examples, num_steps, weight, mean_loss, bytes, digest, object_key, accepted,
             reason, message, received_at, kernel_class, object_offset)
         SELECT column1, column2, column3,
             (SELECT COUNT(*) FROM receipts
                 WHERE run = column1 AND round = column2 AND client = column3),
             column4, column5, column6, column7, column8, column9, column10, column11, column12,
             column13, column14, column15, column16, column17, column18, column19
         FROM (VALUES {places}) AS new
         WHERE NOT EXISTS (SELECT position FROM receipts WHERE run = column1 AND round = column2
             AND client = column3 AND attempt = column4 AND lease_epoch = column5
             AND worker = column6 AND digest = column12 AND object_key = column13
             AND accepted = column14 AND message = column16)
         RETURNING client",
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (receipt, verdict, _) in reports {
        query = bound(query, run, receipt, verdict);
    }
    let rows = write
        .changed_rows(Operation::Insert, Subject::Receipt, query)
        .await?;
    let client = |row| Ok(ClientId(count(row, "client")?));
    rows.iter().map(client).collect()
}

/// The values of a row, all but its position.
fn bound<'q>(query: Query<'q>, run: RunId, receipt: &Receipt, verdict: &Verdict) -> Query<'q> {
    let reason = verdict.as_ref().err().map_or("", Refusal::reason);
    query
        .bind(run.to_string())
        .bind(i64::from(receipt.round))
        .bind(i64::from(receipt.client.0))
        .bind(i64::from(receipt.attempt))
        .bind(i64::from(receipt.lease_epoch))
        .bind(receipt.worker.0.clone())
        .bind(stored(receipt.num_examples))
        .bind(i64::from(receipt.num_steps))
        .bind(receipt.weight)
        .bind(if receipt.mean_loss.is_finite() {
            receipt.mean_loss
        } else {
            f64::NAN
        })
        .bind(stored(receipt.bytes))
        .bind(receipt.digest.to_string())
        .bind(receipt.key.clone())
        .bind(i64::from(verdict.is_ok()))
        .bind(reason)
        .bind(message_of(verdict))
        .bind(stored(receipt.received_at.0))
        .bind(receipt.kernel_class.map_or("", KernelClass::as_str))
        .bind(stored(receipt.offset))
}

/// Why not, for a person.
fn message_of(verdict: &Verdict) -> String {
    verdict
        .as_ref()
        .err()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn told(receipt: &Receipt, verdict: &Verdict) -> Event {
    let (round, client, worker) = (receipt.round, receipt.client, receipt.worker.clone());
    match verdict {
        Ok(()) => Event::UpdateAccepted {
            round,
            client,
            worker,
            num_examples: receipt.num_examples,
            bytes: receipt.bytes,
            mean_loss: receipt.mean_loss,
        },
        Err(refusal) => Event::UpdateRefused {
            round,
            client,
            worker,
            refusal: refusal.clone(),
        },
    }
}

fn read(row: &AnyRow) -> Result<Receipt, StoreError> {
    let mean_loss: Option<f64> = row.try_get("mean_loss")?;
    Ok(Receipt {
        round: count(row, "round")?,
        client: ClientId(count(row, "client")?),
        attempt: count(row, "attempt")?,
        lease_epoch: count(row, "lease_epoch")?,
        worker: WorkerId(row.try_get("worker")?),
        num_examples: count(row, "num_examples")?,
        num_steps: count(row, "num_steps")?,
        kernel_class: row.try_get::<&str, _>("kernel_class")?.parse().ok(),
        weight: row.try_get("weight")?,
        mean_loss: mean_loss.unwrap_or(f64::NAN),
        bytes: count(row, "bytes")?,
        digest: text(row, "digest")?,
        key: row.try_get("object_key")?,
        offset: count(row, "object_offset")?,
        accepted: row.try_get::<i64, _>("accepted")? == 1,
        reason: row.try_get("reason")?,
        message: row.try_get("message")?,
        received_at: Timestamp(count(row, "received_at")?),
    })
}
