//! The end of a round: aggregate, evaluate, have it written.

use std::sync::Arc;

use aggregation::FoldError;
use federation::acceptance::Refusal;
use federation::event::RoundOutcome;
use federation::round::{Effect, Round};
use federation::stop::RoundMetrics;
use telemetry::trace::Span;
use tracing::warn;

use crate::admit::Work;
use crate::aggregate::{AggregateError, aggregate};
use crate::checkpoint::{self, Manifest, ModelFile, UpdateEntry};
use crate::metrics::rounds::word_of;
use crate::problem::Problem;
use crate::store::Receipt;
use crate::study::Study;
use crate::trace::attempt;
use crate::updates::first_damaged;
use crate::writing::{Standing, Writing};

/// Brings a closed round to a model that stands, and has it measured and written while the next round
/// trains. Where the run may stop for what is measured, that comes first.
///
/// Every step can be repeated: the same updates give the same model. A damaged update reopens the
/// round instead.
///
/// # Errors
///
/// [`Problem`]; the round stays closed and is brought on by the next call.
pub async fn close_round(study: &Arc<Study>, work: &mut Work) -> Result<(), Problem> {
    let Some(round) = &work.round else {
        return Ok(());
    };
    // Until that is kept, reports that come after a restart would still count.
    if work.closed != Some(round.number()) {
        study.store.close_training(work.run, round.number()).await?;
        work.closed = Some(round.number());
    }
    let mut receipts = study.store.receipts(work.run, round.number()).await?;
    let reports = receipts.len();
    receipts.retain(|receipt| receipt.accepted);
    let model = match &work.folded {
        Some(model) => model.clone(),
        None => match fold(study, work, &receipts).await? {
            Folded::Model(model) => *model,
            Folded::Reopened => return Ok(()),
        },
    };
    let standing = standing(study, work, model, &receipts, reports - receipts.len());
    // What decides whether there is a next round is known before it.
    let evaluation = match work.spec.stop.looks_at_metrics() {
        true => Some(work.evaluator().measure(study, &standing.manifest).await?),
        false => None,
    };
    let outcome = evaluation.map(|evaluation| standing.outcome(&evaluation));
    let outcome = outcome.transpose()?;
    // Rounds are written one after the other.
    if work.written(study).await? {
        go_on(study, work, standing, outcome);
    }
    Ok(())
}

/// What came of a fold.
enum Folded {
    Model(Box<ModelFile>),
    /// An update was damaged, so that its client is asked again.
    Reopened,
}

/// Makes the closed round's model of the updates, all of which are looked at once more.
async fn fold(study: &Study, work: &mut Work, receipts: &[Receipt]) -> Result<Folded, Problem> {
    let number = work.round.as_ref().map_or(0, Round::number);
    let strategy = word_of(work.spec.strategy);
    let span = telemetry::span!(
        "aggregate",
        "round" = number,
        "strategy" = strategy,
        "updates" = receipts.len(),
    );
    let metrics = &study.metrics.rounds;
    let phase = metrics.seconds.of("aggregating").start();
    let folding = async {
        if let Some(damaged) = find_damage(study, receipts).await? {
            return Ok(Err(damaged));
        }
        checkpoint::verify(&study.blobs, &work.checkpoint.model).await?;
        let timer = metrics.aggregation_seconds.of(strategy).start();
        let aggregated = aggregate(study, work, number, receipts).await;
        let aggregated = aggregated.map_err(aggregation_problem)?;
        timer.stop();
        Ok::<_, Problem>(Ok(aggregated))
    };
    let aggregated = match attempt(&span, folding).await? {
        Ok(aggregated) => aggregated,
        Err((receipt, refusal)) => {
            span.fail(&refusal);
            reopen(study, work, receipt, &refusal).await?;
            return Ok(Folded::Reopened);
        }
    };
    phase.stop();
    metrics.aggregations.of(strategy).inc();
    span.set("divergence", aggregated.divergence);
    work.shown.divergence(aggregated.divergence);
    let model = work.folded.insert(aggregated.model);
    Ok(Folded::Model(Box::new(model.clone())))
}

/// The round's model, and all that is known of it before it is measured.
fn standing(
    study: &Study,
    work: &mut Work,
    model: ModelFile,
    receipts: &[Receipt],
    refused: usize,
) -> Standing {
    let round = work.round.as_ref();
    let (number, opened_at) = round.map_or((0, study.now()), |round| {
        (round.number(), round.plan().opened_at)
    });
    let duration = study.now().since(opened_at).as_millis();
    Standing {
        accepted: u32::try_from(receipts.len()).unwrap_or(u32::MAX),
        refused: u32::try_from(refused).unwrap_or(u32::MAX),
        num_examples: receipts.iter().map(|receipt| receipt.num_examples).sum(),
        train_loss: mean_loss(receipts),
        update_bytes: receipts.iter().map(|receipt| receipt.bytes).sum(),
        duration_ms: u64::try_from(duration).unwrap_or(u64::MAX),
        cohort: round.map_or(0, |round| round.cohort().len()),
        before: work.checkpoint.model.parameters.digest,
        manifest: Manifest {
            round: number,
            parent: Some(work.checkpoint.model.digest),
            updates: receipts.iter().map(UpdateEntry::of).collect(),
            kernel_classes: receipts
                .iter()
                .filter_map(|receipt| receipt.kernel_class)
                .collect(),
            outcome: None,
            model,
            ..work.checkpoint.clone()
        },
    }
}

/// Goes on from the new model, and has it measured, if it was not, and written.
fn go_on(study: &Arc<Study>, work: &mut Work, standing: Standing, outcome: Option<RoundOutcome>) {
    if let Some(outcome) = &outcome {
        work.history.push(RoundMetrics {
            round: outcome.round,
            loss: outcome.loss,
            accuracy: outcome.accuracy,
        });
    }
    let span = std::mem::replace(&mut work.span, Span::none());
    work.checkpoint = standing.manifest.clone();
    work.writing = Some(Writing::begin(
        study,
        work.evaluator(),
        standing,
        outcome,
        span,
    ));
    if let Some(bundle) = work.bundle.take() {
        study.blobs.close_bundle(&bundle);
    }
    work.round = None;
    work.folded = None;
    work.dispatching = None;
}

/// The first accepted update that is not any more what was accepted.
async fn find_damage<'a>(
    study: &Study,
    receipts: &'a [Receipt],
) -> Result<Option<(&'a Receipt, Refusal)>, Problem> {
    let updates = receipts
        .iter()
        .map(Receipt::update)
        .collect::<Result<Vec<_>, _>>();
    let updates = updates.map_err(Problem::fatal("update"))?;
    let damaged = first_damaged(&study.blobs, &updates).await?;
    Ok(damaged.map(|(number, refusal)| (&receipts[number], refusal)))
}

async fn reopen(
    study: &Study,
    work: &mut Work,
    receipt: &Receipt,
    refusal: &Refusal,
) -> Result<(), Problem> {
    let Some(round) = &mut work.round else {
        return Ok(());
    };
    warn!(
        run = %work.run,
        round = receipt.round,
        participant_id = %receipt.client,
        error = %refusal,
        "an accepted update is damaged"
    );
    let mut next: Round = round.clone();
    let again = match next.revoke(receipt.client) {
        Some(Effect::Dispatch(again)) => again,
        _ => Vec::new(),
    };
    next.postpone(study.steady().after(work.spec.cohort.deadline));
    study
        .store
        .revoke(work.run, receipt, refusal, &again, study.now())
        .await?;
    let refused = &study.metrics.rounds.refused;
    refused.of(refusal.reason()).inc();
    *round = next;
    work.closed = None;
    work.to_dispatch.extend(again);
    Ok(())
}

fn aggregation_problem(error: AggregateError) -> Problem {
    match error {
        // A full disk may have room again.
        AggregateError::File { .. }
        | AggregateError::Fold(
            FoldError::Read { .. } | FoldError::ReadBase { .. } | FoldError::Write { .. },
        ) => Problem::Stalled {
            waiting_for: "artifacts",
            message: error.to_string(),
        },
        AggregateError::Blob(error) => error.into(),
        error => Problem::Fatal {
            message: format!("aggregation: {error}"),
        },
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of rows are far below 2^53"
)]
fn mean_loss(receipts: &[Receipt]) -> f64 {
    let examples: u64 = receipts.iter().map(|receipt| receipt.num_examples).sum();
    let sum: f64 = receipts
        .iter()
        .map(|receipt| receipt.mean_loss * receipt.num_examples as f64)
        .sum();
    sum / examples as f64
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_disk_is_waited_for_and_updates_without_weight_are_not() {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        let full = aggregation_problem(FoldError::Write { source }.into());
        assert!(matches!(full, Problem::Stalled { .. }), "{full}");
        let weightless = aggregation_problem(FoldError::NoWeight.into());
        assert!(matches!(weightless, Problem::Fatal { .. }), "{weightless}");
    }
}
