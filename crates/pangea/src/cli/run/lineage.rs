//! `pangea run RUN --lineage`: from a model back to every update in it.

use client::v1;

use crate::cli::Session;
use crate::human::{bytes, count, measured, percent};
use crate::json;
use crate::json::Lineage;
use crate::table::Side::{Left, Right};
use crate::table::{Table, facts};

/// Hexadecimal digits of a digest that are shown to people: enough to tell a run's files apart.
const DIGITS_SHOWN: usize = 12;

pub(super) async fn show(session: &mut Session, run: &str) -> anyhow::Result<()> {
    let client = session.client();
    let run = client.find_run(run).await?;
    let rounds = client.rounds(&run.run).await?;
    let lineage = Lineage::of(&run, &rounds);
    session.output.show(text(&run, &lineage), &lineage)?;
    Ok(())
}

fn text(run: &v1::Run, lineage: &Lineage) -> String {
    let model = run.model.as_ref().map_or_else(String::new, |model| {
        let name = super::model_of(run);
        format!("{name} {}", model.digest)
    });
    let mut text = facts([
        ("run", run.run.clone()),
        ("job", run.name.clone()),
        ("state", json::state(run.state()).to_owned()),
        ("model", model),
        ("rounds", super::rounds_of(run)),
    ]);
    for round in &lineage.rounds {
        text.push_str("\n\n");
        text.push_str(&of_round(round));
    }
    if lineage.rounds.is_empty() {
        text.push_str("\n\nno round is committed");
    } else {
        text.push_str("\n\ndigests are cut; --output json has them whole");
    }
    text
}

fn of_round(round: &json::LineageRound) -> String {
    let mut text = format!(
        "round {}: {} from {}; {}\n{}",
        round.round,
        cut(&round.model_digest),
        cut(&round.base_digest),
        measured(round.accuracy, round.loss),
        accepted(round)
    );
    if !round.refused.is_empty() {
        text.push_str(&format!("\nrefused:\n{}", refused(round)));
    }
    text
}

fn accepted(round: &json::LineageRound) -> Table {
    let mut table = Table::new([
        ("CLIENT", Left),
        ("WORKER", Left),
        ("ATTEMPT", Right),
        ("EPOCH", Right),
        ("EXAMPLES", Right),
        ("WEIGHT", Right),
        ("SHARE", Right),
        ("SIZE", Right),
        ("UPDATE", Left),
    ]);
    for update in &round.updates {
        table.row([
            update.client.clone(),
            update.worker.clone(),
            update.attempt.to_string(),
            update.lease_epoch.to_string(),
            count(update.num_examples),
            weight(update.weight),
            percent(Some(update.share)),
            bytes(update.bytes),
            cut(&update.digest),
        ]);
    }
    let share: f64 = round.updates.iter().map(|update| update.share).sum();
    let nothing = String::new;
    table.row([
        "all".to_owned(),
        nothing(),
        nothing(),
        nothing(),
        count(round.num_examples),
        weight(round.weight),
        percent(Some(share)),
        bytes(round.update_bytes),
        nothing(),
    ]);
    table
}

fn refused(round: &json::LineageRound) -> Table {
    let mut table = Table::new([
        ("CLIENT", Left),
        ("WORKER", Left),
        ("ATTEMPT", Right),
        ("EPOCH", Right),
        ("REASON", Left),
        ("MESSAGE", Left),
    ]);
    for update in &round.refused {
        table.row([
            update.client.clone(),
            update.worker.clone(),
            update.attempt.to_string(),
            update.lease_epoch.to_string(),
            update.reason.clone(),
            update.message.clone(),
        ]);
    }
    table
}

/// A weight as people read it: examples are whole.
pub(in crate::cli) fn weight(weight: f64) -> String {
    let text = format!("{weight:.3}");
    let whole = text.strip_suffix(".000").map(str::parse);
    match whole {
        Some(Ok(whole)) => count(whole),
        _ => text,
    }
}

/// The beginning of a digest, without its algorithm.
pub(in crate::cli) fn cut(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.chars().take(DIGITS_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(client: &str, weight: f64, reason: &str) -> v1::round::Update {
        v1::round::Update {
            client: client.into(),
            worker: "ada".into(),
            attempt: 1,
            lease_epoch: 1,
            num_examples: 1234,
            weight,
            bytes: 4840,
            digest: "blake3:0123456789abcdef".into(),
            accepted: reason.is_empty(),
            reason: reason.into(),
            message: if reason.is_empty() { "" } else { "it is over" }.into(),
            ..v1::round::Update::default()
        }
    }

    #[test]
    fn a_round_is_shown_with_its_shares_and_who_was_refused() {
        let round = v1::Round {
            round: 2,
            phase: "committed".into(),
            model_digest: "blake3:ffffffffffffffff".into(),
            base_digest: "blake3:eeeeeeeeeeeeeeee".into(),
            accuracy: Some(0.5),
            loss: Some(1.25),
            update_bytes: 9680,
            updates: vec![
                update("client-0000", 3.0, ""),
                update("client-0001", 1.0, ""),
                update("client-0001", 1.0, "late"),
            ],
            ..v1::Round::default()
        };
        let open = v1::Round {
            round: 3,
            phase: "training".into(),
            ..v1::Round::default()
        };
        let run = v1::Run {
            run: "r".into(),
            state: v1::RunState::Running.into(),
            rounds_committed: 2,
            ..v1::Run::default()
        };
        let lineage = Lineage::of(&run, &[round, open]);
        assert_eq!(
            text(&run, &lineage),
            "\
run     r
state   running
rounds  2

round 2: ffffffffffff from eeeeeeeeeeee; accuracy 50.0 %, loss 1.2500
CLIENT       WORKER  ATTEMPT  EPOCH  EXAMPLES  WEIGHT    SHARE     SIZE  UPDATE
client-0000  ada           1      1     1,234       3   75.0 %  4.7 KiB  0123456789ab
client-0001  ada           1      1     1,234       1   25.0 %  4.7 KiB  0123456789ab
all                                     2,468       4  100.0 %  9.5 KiB
refused:
CLIENT       WORKER  ATTEMPT  EPOCH  REASON  MESSAGE
client-0001  ada           1      1  late    it is over

digests are cut; --output json has them whole"
        );
    }

    #[test]
    fn weights_lose_what_is_nothing() {
        assert_eq!([1438.0, 0.5].map(weight), ["1,438", "0.500"]);
    }
}
