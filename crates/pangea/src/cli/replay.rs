//! `pangea replay`: a committed round once more.

use std::time::Duration;

use clap::Args;
use client::v1;

use super::Session;
use super::run::lineage::{cut, weight};
use crate::exit::Exit;
use crate::human::{bytes, count, percent, span};
use crate::json;
use crate::table::Side::{Left, Right};
use crate::table::{Table, facts};

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The run: its id, the beginning of one, or `latest`
    run: String,
    /// Which of its rounds, from 1
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    round: u32,
}

impl Replay {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<Exit> {
        let client = session.client();
        let run = client.find_run(&self.run).await?;
        let answer = client.replay(&run.run, self.round).await?;
        let shape = json::Replay::from(&answer);
        session.output.show(text(&answer), &shape)?;
        Ok(if answer.equal {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

fn text(answer: &v1::ReplayResponse) -> String {
    let verdict = if answer.equal {
        "the same model, byte for byte"
    } else {
        "ANOTHER MODEL than was committed"
    };
    let told = facts([
        ("run", answer.run.clone()),
        ("round", answer.round.to_string()),
        ("came to", verdict.to_owned()),
        ("committed", answer.recorded_digest.clone()),
        ("replayed", answer.replayed_digest.clone()),
        ("from", answer.base_digest.clone()),
        ("took", span(Duration::from_millis(answer.duration_ms))),
    ]);
    format!("{told}\n\n{}", updates(&answer.updates))
}

fn updates(updates: &[v1::replay_response::Update]) -> Table {
    let mut table = Table::new([
        ("CLIENT", Left),
        ("EXAMPLES", Right),
        ("WEIGHT", Right),
        ("SHARE", Right),
        ("SIZE", Right),
        ("UPDATE", Left),
    ]);
    let all: f64 = updates.iter().map(|update| update.weight).sum();
    for update in updates {
        table.row([
            update.client.clone(),
            count(update.num_examples),
            weight(update.weight),
            percent(Some(update.weight / all)),
            bytes(update.bytes),
            cut(&update.digest),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_says_first_what_came_of_it() {
        let update = v1::replay_response::Update {
            client: "client-0000".into(),
            num_examples: 7,
            weight: 7.0,
            bytes: 4840,
            digest: "blake3:0123456789abcdef".into(),
            ..Default::default()
        };
        let answer = v1::ReplayResponse {
            run: "r".into(),
            round: 2,
            recorded_digest: "blake3:ff".into(),
            replayed_digest: "blake3:ee".into(),
            base_digest: "blake3:dd".into(),
            updates: vec![update],
            duration_ms: 250,
            ..Default::default()
        };
        assert_eq!(
            text(&answer),
            "\
run        r
round      2
came to    ANOTHER MODEL than was committed
committed  blake3:ff
replayed   blake3:ee
from       blake3:dd
took       0.25 s

CLIENT       EXAMPLES  WEIGHT    SHARE     SIZE  UPDATE
client-0000         7       7  100.0 %  4.7 KiB  0123456789ab"
        );
    }
}
