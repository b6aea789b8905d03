//! From a worker's report to a receipt with its verdict.

mod incoming;

use artifacts::Key;
use bytes::Bytes;
use federation::acceptance::{Consequence, Refusal, judge};
use federation::job::Strategy;
use federation::round::{Effect, Round};
use federation::{ClientId, TaskId};

use crate::admit::Work;
use crate::problem::Problem;
use crate::store::{Judgement, Receipt, StoreError, Verdict};
use crate::study::Study;
use crate::trace::attempt;
use crate::updates::inspect;

pub use incoming::Incoming;

/// What became of a report.
#[derive(Debug)]
pub struct Judged {
    /// Whether the update counts.
    pub verdict: Verdict,
    /// Whether this very report was accepted before, so that it is no other update.
    pub is_repeat: bool,
}

impl Judged {
    fn first(verdict: Verdict) -> Self {
        Self {
            verdict,
            is_repeat: false,
        }
    }

    fn again() -> Self {
        Self {
            verdict: Ok(()),
            is_repeat: true,
        }
    }
}

/// Judges reports to a run in work, one after the other, and keeps their receipts together, with what
/// they close. Gives for each what became of it, and what follows from it.
///
/// # Errors
///
/// [`Problem::Stalled`] when it is not known whether the receipts are kept. The work is behind then,
/// until it [catches up](catch_up).
pub async fn collect(
    study: &Study,
    work: &mut Work,
    reports: &[&Incoming],
) -> Result<Vec<(Judged, Option<Effect>)>, Problem> {
    let mut next = work.round.clone();
    let mut judged = Vec::with_capacity(reports.len());
    let mut kept = Vec::with_capacity(reports.len());
    for incoming in reports {
        let verdict = match &next {
            Some(round) => verdict(study, work, round, incoming).await?,
            None => Err(Refusal::Late {
                current: work.checkpoint.round,
            }),
        };
        let superfluous = matches!(verdict, Err(Refusal::Late { .. } | Refusal::Duplicate));
        if superfluous && is_repeat(study, incoming).await? {
            judged.push((Judged::again(), None));
            continue;
        }
        let round = next.as_mut();
        let effect = round.and_then(|round| apply(round, incoming, &verdict));
        kept.push(Kept {
            task: incoming.report.task,
            receipt: incoming.receipt(study, work.spec.strategy),
            data: incoming.data.clone(),
            verdict: verdict.clone(),
            again: again(effect.as_ref()).to_vec(),
        });
        judged.push((Judged::first(verdict), effect));
    }
    bundle(study, work, &mut kept).await?;
    let rows: Vec<_> = kept.iter().map(Kept::row).collect();
    if !rows.is_empty() {
        let closing = judged
            .iter()
            .any(|(_, effect)| matches!(effect, Some(Effect::Aggregate)));
        let closes = next.as_ref().filter(|_| closing).map(Round::number);
        work.is_behind = true;
        study.store.receive_all(work.run, &rows, closes).await?;
        work.is_behind = false;
        work.closed = closes.or(work.closed);
    }
    for (_, verdict, _) in rows {
        count(study, verdict);
    }
    work.round = next;
    Ok(judged)
}

/// What is kept of a judged report.
struct Kept {
    task: TaskId,
    receipt: Receipt,
    /// The update, if it came with the report.
    data: Bytes,
    verdict: Verdict,
    again: Vec<(ClientId, u32)>,
}

impl Kept {
    fn row(&self) -> Judgement<'_> {
        (&self.receipt, &self.verdict, &self.again)
    }
}

/// Stores the updates that came with accepted reports, one behind the other in the round's bundle, and
/// has their receipts say where.
async fn bundle(study: &Study, work: &mut Work, kept: &mut [Kept]) -> Result<(), Problem> {
    let mut small: Vec<_> = kept
        .iter_mut()
        .filter(|kept| kept.verdict.is_ok() && !kept.data.is_empty())
        .collect();
    let Some(first) = small.first() else {
        return Ok(());
    };
    let new = || Key::bundle(&first.task, first.receipt.lease_epoch);
    let key = work.bundle.get_or_insert_with(new);
    let parts: Vec<_> = small.iter().map(|kept| kept.data.clone()).collect();
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    let span = telemetry::span!("store updates", "updates" = parts.len(), "bytes" = bytes);
    let mut offset = attempt(&span, study.blobs.append(key, &parts)).await?;
    for kept in &mut small {
        key.as_str().clone_into(&mut kept.receipt.key);
        kept.receipt.offset = offset;
        offset += kept.data.len() as u64;
    }
    Ok(())
}

/// Brings the round of a work that is behind to what the store knows of it. Otherwise an update that
/// was kept unheard would stand against every other one of its client.
///
/// # Errors
///
/// [`Problem::Stalled`].
pub async fn catch_up(study: &Study, work: &mut Work) -> Result<Option<Effect>, Problem> {
    let Some(round) = work.round.as_ref().filter(|_| work.is_behind) else {
        return Ok(None);
    };
    let mut next = round.clone();
    let mut effect = None;
    for receipt in study.store.accepted(work.run, next.number()).await? {
        if !next.has_update(receipt.client) {
            effect = next.receive(receipt.client).or(effect);
        }
    }
    work.round = Some(next);
    work.is_behind = false;
    Ok(effect)
}

/// Keeps the receipt of a report that no run in work takes.
///
/// # Errors
///
/// [`StoreError`].
pub async fn refuse(
    study: &Study,
    incoming: &Incoming,
    refusal: Refusal,
) -> Result<Judged, StoreError> {
    if is_repeat(study, incoming).await? {
        return Ok(Judged::again());
    }
    let verdict = Err(refusal);
    let run = incoming.report.task.run;
    // A receipt is of a run; without one there is the number alone.
    if study.store.run(run).await?.is_some() {
        let receipt = incoming.receipt(study, Strategy::default());
        study.store.receive(run, &receipt, &verdict, &[]).await?;
    }
    count(study, &verdict);
    Ok(Judged::first(verdict))
}

async fn verdict(
    study: &Study,
    work: &Work,
    round: &Round,
    incoming: &Incoming,
) -> Result<Verdict, Problem> {
    let task = &incoming.report.task;
    let rows = work
        .shards
        .get(task.client.0 as usize)
        .map_or(0, |shard| shard.rows);
    if let Err(refusal) = judge(round, &incoming.report, rows, work.spec.kernel_class) {
        return Ok(Err(refusal));
    }
    let place = incoming.place();
    if incoming.update.key != place || incoming.update.offset != 0 {
        let problem = format!("it must be the object {place}, not {}", incoming.update.key);
        return Ok(Err(Refusal::Damaged { problem }));
    }
    if let Some(refusal) = incoming.refusal.clone() {
        return Ok(Err(refusal));
    }
    match incoming.data.is_empty() {
        true => inspect(&study.blobs, &incoming.update).await,
        false => Ok(Ok(())),
    }
}

fn apply(round: &mut Round, incoming: &Incoming, verdict: &Verdict) -> Option<Effect> {
    let task = &incoming.report.task;
    match verdict {
        Ok(()) => round.receive(task.client),
        Err(refusal) => match refusal.consequence() {
            Consequence::None => None,
            Consequence::Retry => round.fail(task.client, task.attempt, true, &refusal.to_string()),
            Consequence::GiveUp => {
                round.fail(task.client, task.attempt, false, &refusal.to_string())
            }
        },
    }
}

/// The work that is queued once more.
fn again(effect: Option<&Effect>) -> &[(ClientId, u32)] {
    match effect {
        Some(Effect::Dispatch(again)) => again,
        _ => &[],
    }
}

fn count(study: &Study, verdict: &Verdict) {
    if let Err(refusal) = verdict {
        let refused = &study.metrics.rounds.refused;
        refused.of(refusal.reason()).inc();
    }
}

/// Whether this very report was accepted before: its verdict got lost on the way.
async fn is_repeat(study: &Study, incoming: &Incoming) -> Result<bool, StoreError> {
    let task = &incoming.report.task;
    let accepted = study.store.accepted(task.run, task.round).await?;
    Ok(accepted.iter().any(|receipt| {
        receipt.client == task.client
            && receipt.attempt == task.attempt
            && receipt.lease_epoch == incoming.lease_epoch
            && receipt.worker == incoming.worker
            && receipt.digest == incoming.report.digest
    }))
}
