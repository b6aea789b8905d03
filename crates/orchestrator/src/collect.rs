//! From a worker's report to a receipt with its verdict.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use artifacts::{ArtifactStore, BlobError, BlobRef, BlobStore, Key};
use bytes::Bytes;
use federation::acceptance::{Consequence, Refusal, Report, judge};
use federation::job::{Strategy, Weighting};
use federation::round::{Effect, Round};
use federation::{ClientId, Digest, TaskId, WorkerId};
use proto::body;
use proto::convert::{InvalidMessage, maybe_kernel_class};
use proto::v1::worker_message::Done;

use crate::admit::Work;
use crate::metrics::fleet::FROM_WORKERS;
use crate::problem::Problem;
use crate::store::{Receipt, StoreError, Verdict};
use crate::study::Study;
use crate::trace::attempt;

/// Bytes of an update that are looked at together; they stay in a core's cache.
const BUFFER: usize = 256 * 1024;

/// A report as it came in.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Who reports.
    pub worker: WorkerId,
    /// What it says.
    pub report: Report,
    /// Where the update stands, or will.
    pub update: BlobRef,
    /// The update itself, if it came with the report and is not stored yet.
    pub data: Bytes,
    /// Why the update that came with the report is none.
    pub damage: Option<String>,
    /// Which delivery of the task.
    pub lease_epoch: u32,
    /// Optimiser steps behind it.
    pub num_steps: u32,
}

impl Incoming {
    /// Understands a worker's message.
    ///
    /// # Errors
    ///
    /// [`InvalidMessage`] names the field.
    pub fn new(worker: WorkerId, done: Done) -> Result<Self, InvalidMessage> {
        let invalid = |field: &'static str| {
            move |error: &dyn std::fmt::Display| InvalidMessage::new(field, error)
        };
        let task: TaskId = done.task.parse().map_err(|error| invalid("task")(&error))?;
        let update = done
            .update
            .as_ref()
            .ok_or_else(|| InvalidMessage::missing("update"))?;
        let body = update
            .body
            .as_ref()
            .ok_or_else(|| InvalidMessage::missing("update.body"))?;
        let digest = body
            .digest
            .parse()
            .map_err(|error| invalid("update.body.digest")(&error))?;
        let update = BlobRef {
            key: update
                .key
                .parse()
                .map_err(|error| invalid("update.key")(&error))?,
            offset: update.offset_bytes,
            len: body.length_bytes,
            digest,
        };
        let report = Report {
            task,
            base: done
                .base_digest
                .parse()
                .map_err(|error| invalid("base_digest")(&error))?,
            digest,
            bytes: body.length_bytes,
            num_examples: done.num_examples,
            mean_loss: done.mean_loss,
            kernel_class: maybe_kernel_class(&done.kernel_class)?,
        };
        if done.data.len() > body::UPDATE_WITH_REPORT_MAX {
            let problem = format!(
                "has {} bytes; an update of more than {} is uploaded before it is reported",
                done.data.len(),
                body::UPDATE_WITH_REPORT_MAX
            );
            return Err(invalid("data")(&problem));
        }
        let (lease_epoch, num_steps) = (done.lease_epoch, done.num_steps);
        Ok(Self {
            worker,
            report,
            update,
            data: done.data,
            damage: None,
            lease_epoch,
            num_steps,
        })
    }

    /// Stores the update that came with the report, if one did and says that it is in its place.
    ///
    /// # Errors
    ///
    /// [`BlobError`] when the store cannot take it now. Bytes that are not those announced are judged
    /// with the report.
    pub async fn store(&mut self, study: &Study) -> Result<(), BlobError> {
        let data = std::mem::take(&mut self.data);
        if data.is_empty() || self.update.key != self.place() {
            return Ok(());
        }
        if data.len() as u64 != self.update.len {
            let announced = self.update.len;
            let problem = format!("{} bytes came where {announced} were announced", data.len());
            self.damage = Some(problem);
            return Ok(());
        }
        let received = study.metrics.fleet.bytes.of(FROM_WORKERS);
        received.inc_by(data.len() as u64);
        let BlobRef {
            key, len, digest, ..
        } = &self.update;
        let span = telemetry::span!("store update", "bytes" = data.len());
        let storing = async {
            let mut upload = study.blobs.upload(key, *len, digest).await?;
            upload.write(data).await?;
            upload.finish().await
        };
        match attempt(&span, storing).await {
            Err(error @ (BlobError::WrongLength { .. } | BlobError::DigestMismatch { .. })) => {
                self.damage = Some(error.to_string());
                Ok(())
            }
            stored => stored,
        }
    }

    /// Where the update of this delivery belongs.
    fn place(&self) -> Key {
        let TaskId {
            run,
            round,
            client,
            attempt,
        } = self.report.task;
        Key::update(run, round, client, attempt, self.lease_epoch)
    }

    fn receipt(&self, study: &Study, strategy: Strategy) -> Receipt {
        let Strategy::FedAvg { weighting } = strategy;
        let task = &self.report.task;
        Receipt {
            round: task.round,
            client: task.client,
            attempt: task.attempt,
            lease_epoch: self.lease_epoch,
            worker: self.worker.clone(),
            num_examples: self.report.num_examples,
            num_steps: self.num_steps,
            kernel_class: self.report.kernel_class,
            weight: weight(self.report.num_examples, weighting),
            mean_loss: self.report.mean_loss,
            bytes: self.report.bytes,
            digest: self.report.digest,
            key: self.update.key.to_string(),
            accepted: false,
            reason: String::new(),
            message: String::new(),
            received_at: study.now(),
        }
    }
}

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

/// Judges reports to a run in work, one after the other, and keeps their receipts together. Gives for
/// each what became of it, and what follows from it.
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
        kept.push((
            incoming.receipt(study, work.spec.strategy),
            verdict.clone(),
            again(effect.as_ref()).to_vec(),
        ));
        judged.push((Judged::first(verdict), effect));
    }
    let rows: Vec<_> = kept
        .iter()
        .map(|(receipt, verdict, again)| (receipt, verdict, &again[..]))
        .collect();
    if !rows.is_empty() {
        work.is_behind = true;
        study.store.receive_all(work.run, &rows).await?;
        work.is_behind = false;
    }
    for (_, verdict, _) in rows {
        count(study, verdict);
    }
    work.round = next;
    Ok(judged)
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
    if let Some(problem) = incoming.damage.clone() {
        return Ok(Err(Refusal::Damaged { problem }));
    }
    inspect(&study.blobs, &incoming.update).await
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

/// Looks at an update: it must be the bytes that were announced, and finite numbers.
///
/// # Errors
///
/// [`Problem::Stalled`] when the disk does not let it be read now.
pub async fn inspect(blobs: &ArtifactStore, update: &BlobRef) -> Result<Verdict, Problem> {
    let looked = blobs.look(&update.key, is_finite).await?;
    Ok(match (is_announced(update, looked.as_ref()), looked) {
        (Ok(()), Some((.., false))) => Err(Refusal::NotFinite {
            what: "the update".to_owned(),
        }),
        (verdict, _) => verdict,
    })
}

/// Looks whether an update is the bytes that were announced.
///
/// # Errors
///
/// As [`inspect`].
pub async fn look(blobs: &ArtifactStore, update: &BlobRef) -> Result<Verdict, Problem> {
    let looked = blobs.look(&update.key, |_| Ok(())).await?;
    Ok(is_announced(update, looked.as_ref()))
}

fn is_announced<T>(update: &BlobRef, looked: Option<&(u64, Digest, T)>) -> Verdict {
    let BlobRef {
        key, len, digest, ..
    } = update;
    let problem = match looked {
        None => BlobError::NotFound { key: key.clone() }.to_string(),
        Some((actual, ..)) if actual != len => {
            format!("object {key} has {actual} bytes where {len} were announced")
        }
        Some((_, actual, _)) if actual != digest => {
            format!("object {key} has digest {actual} where {digest} was announced")
        }
        Some(_) => return Ok(()),
    };
    Err(Refusal::Damaged { problem })
}

/// Whether a file, whose length is that of a model, holds finite numbers alone.
fn is_finite(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    let mut rest = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut finite = true;
    while rest > 0 && finite {
        let part = &mut buffer[..rest.min(BUFFER)];
        file.read_exact(part)?;
        // Without an exit from the loop, so that it is done by vectors.
        finite = body::as_numbers::<f32>(part)
            .iter()
            .fold(true, |all, number| all & number.is_finite());
        rest -= part.len();
    }
    Ok(finite)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of rows are far below 2^53"
)]
fn weight(num_examples: u64, weighting: Weighting) -> f64 {
    match weighting {
        Weighting::Examples => num_examples as f64,
        Weighting::Uniform => 1.0,
    }
}
