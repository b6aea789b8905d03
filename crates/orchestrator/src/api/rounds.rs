//! What the rounds of a run did, and one of them done again.

use federation::{Digest, Timestamp};
use proto::v1::round::Update;
use proto::v1::{
    ListRoundsRequest, ListRoundsResponse, ReplayRequest, ReplayResponse, Round, replay_response,
};
use tonic::Status;
use tracing::{info, warn};

use super::{Api, page, status};
use crate::lineage::base_of;
use crate::replay::{Replayed, replay};
use crate::store::{Receipt, RoundRow};
use crate::trace::attempt;

/// Updates after which a page of rounds ends: about a megabyte.
const UPDATES_ON_PAGE: usize = 5_000;

impl Api {
    pub(super) async fn rounds_of(
        &self,
        request: ListRoundsRequest,
    ) -> Result<ListRoundsResponse, Status> {
        let ListRoundsRequest {
            run,
            page_size,
            page_token,
        } = request;
        let run = self.find(&run).await?.run;
        let size = page::size(page_size);
        let after = page::start(&page_token)?.unwrap_or(0);
        let store = &self.study.store;
        let rows = store.rounds(run, after, size).await;
        let rows = rows.map_err(status::store)?;
        let mut next_page_token = page::next(&rows, size, |row| row.number.to_string());
        let mut base = match rows.first() {
            Some(first) => {
                let base = base_of(&self.study, run, first.number).await;
                base.map_err(status::lineage)?
            }
            None => None,
        };
        let mut rounds = Vec::with_capacity(rows.len());
        let mut updates = 0;
        for row in rows {
            let receipts = store.receipts(run, row.number).await;
            let receipts = receipts.map_err(status::store)?;
            updates += receipts.len();
            let number = row.number;
            rounds.push(round(&row, base, receipts));
            base = row.outcome.map(|outcome| outcome.model_digest);
            // A page stays far below what a message may hold.
            if updates > UPDATES_ON_PAGE {
                next_page_token = number.to_string();
                break;
            }
        }
        Ok(ListRoundsResponse {
            rounds,
            next_page_token,
        })
    }

    pub(super) async fn replay_round(
        &self,
        request: ReplayRequest,
    ) -> Result<ReplayResponse, Status> {
        let row = self.find(&request.run).await?;
        let round = request.round;
        let span = telemetry::span!("replay", "round" = round);
        let replayed = attempt(&span, replay(&self.study, &row, round)).await;
        let replayed = replayed.map_err(status::replay)?;
        let (run, replays) = (row.run, &self.study.metrics.retention.replays);
        if replayed.is_equal() {
            replays.of("equal").inc();
            info!(%run, round, model = %replayed.recorded, "replay gave the same model");
        } else {
            replays.of("different").inc();
            warn!(
                %run,
                round,
                recorded = %replayed.recorded,
                replayed = %replayed.replayed,
                "replay gave another model"
            );
        }
        Ok(answer(row.run.to_string(), round, &replayed))
    }
}

fn round(row: &RoundRow, base: Option<Digest>, receipts: Vec<Receipt>) -> Round {
    let outcome = row.outcome.as_ref();
    let told = |digest: Digest| digest.to_string();
    Round {
        round: row.number,
        phase: row.phase.as_str().to_owned(),
        cohort: row.cohort.iter().map(ToString::to_string).collect(),
        quorum: row.quorum,
        opened_at_ms: row.opened_at.0,
        closed_at_ms: row.closed_at.map_or(0, |Timestamp(millis)| millis),
        accuracy: outcome.and_then(|outcome| outcome.accuracy),
        loss: outcome.map(|outcome| outcome.loss),
        train_loss: outcome.map(|outcome| outcome.train_loss),
        update_bytes: outcome.map_or(0, |outcome| outcome.update_bytes),
        model_digest: outcome.map_or_else(String::new, |outcome| told(outcome.model_digest)),
        base_digest: base.map_or_else(String::new, told),
        reason: row.reason.clone(),
        updates: receipts.into_iter().map(update).collect(),
    }
}

fn update(receipt: Receipt) -> Update {
    Update {
        client: receipt.client.to_string(),
        worker: receipt.worker.0,
        attempt: receipt.attempt,
        lease_epoch: receipt.lease_epoch,
        num_examples: receipt.num_examples,
        num_steps: receipt.num_steps,
        weight: receipt.weight,
        mean_loss: receipt.mean_loss,
        bytes: receipt.bytes,
        digest: receipt.digest.to_string(),
        accepted: receipt.accepted,
        reason: receipt.reason,
        message: receipt.message,
        received_at_ms: receipt.received_at.0,
    }
}

fn answer(run: String, round: u32, replayed: &Replayed) -> ReplayResponse {
    let update = |receipt: &Receipt| replay_response::Update {
        client: receipt.client.to_string(),
        num_examples: receipt.num_examples,
        weight: receipt.weight,
        bytes: receipt.bytes,
        digest: receipt.digest.to_string(),
        key: receipt.key.clone(),
        offset_bytes: receipt.offset,
    };
    ReplayResponse {
        run,
        round,
        equal: replayed.is_equal(),
        recorded_digest: replayed.recorded.to_string(),
        replayed_digest: replayed.replayed.to_string(),
        base_digest: replayed.base.to_string(),
        updates: replayed.updates.iter().map(update).collect(),
        duration_ms: u64::try_from(replayed.duration.as_millis()).unwrap_or(u64::MAX),
    }
}
