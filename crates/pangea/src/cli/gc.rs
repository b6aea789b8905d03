//! `pangea gc`: what nobody needs any more.

use std::time::Duration;

use clap::Args;
use client::v1;

use super::Session;
use crate::human::{bytes, count};
use crate::json;
use crate::table::Side::{Left, Right};
use crate::table::Table;

#[derive(Debug, Args)]
pub(super) struct Gc {
    /// Remove it; without this, gc only says what it would remove
    #[arg(long)]
    remove: bool,
    /// Leave the runs that ended more recently, such as 30m or 0s [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

impl Gc {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client();
        let answer = client.collect_garbage(self.remove, self.older_than).await?;
        let shape = json::Collection::from(&answer);
        session.output.show(text(&answer), &shape)?;
        Ok(())
    }
}

/// What a kind of garbage is, for a person.
fn about(kind: &str) -> &'static str {
    match kind {
        "updates" => "of rounds that are not kept",
        "checkpoints" => "models before the rounds that are kept",
        "shards" => "of partitions on which no run works",
        "unknown_runs" => "all of runs that are not known",
        "uploads" => "broken off for more than a day",
        _ => "",
    }
}

fn text(answer: &v1::CollectGarbageResponse) -> String {
    let (mut objects, mut size) = (0, 0);
    let mut table = Table::new([
        ("KIND", Left),
        ("OBJECTS", Right),
        ("SIZE", Right),
        ("WHAT", Left),
    ]);
    for found in answer.garbage.iter().filter(|found| found.objects > 0) {
        objects += found.objects;
        size += found.bytes;
        table.row([
            found.kind.clone(),
            count(found.objects),
            bytes(found.bytes),
            about(&found.kind).to_owned(),
        ]);
    }
    let used: u64 = answer.held.iter().map(|held| held.bytes).sum();
    let budget = answer.budget_bytes.map_or_else(String::new, |budget| {
        format!(" of a budget of {}", bytes(budget))
    });
    let (held, left) = (bytes(used), bytes(used.saturating_sub(size)));
    if objects == 0 {
        return format!("the store holds {held}{budget}; nothing of it can be removed");
    }
    let (size, objects) = (bytes(size), crate::human::counted(objects, "object"));
    let verdict = if answer.removed {
        format!("removed {objects}, {size}; the store held {held} and holds {left}{budget}")
    } else {
        format!("{objects}, {size}, can be removed of {held}{budget}; `pangea gc --remove` does it")
    };
    format!("{table}\n\n{verdict}")
}

#[cfg(test)]
mod tests {
    use client::v1::collect_garbage_response::{Garbage, Held};

    use super::*;

    fn answer(objects: u64, removed: bool) -> v1::CollectGarbageResponse {
        v1::CollectGarbageResponse {
            held: vec![Held {
                kind: "updates".into(),
                objects: 9,
                bytes: 4096,
            }],
            garbage: vec![Garbage {
                kind: "updates".into(),
                objects,
                bytes: objects * 512,
            }],
            removed,
            budget_bytes: removed.then_some(8192),
        }
    }

    #[test]
    fn garbage_is_told_by_kind_and_nothing_is_told_as_that() {
        assert_eq!(
            text(&answer(0, true)),
            "the store holds 4.0 KiB of a budget of 8.0 KiB; nothing of it can be removed"
        );
        assert_eq!(
            text(&answer(2, false)),
            "\
KIND     OBJECTS     SIZE  WHAT
updates        2  1.0 KiB  of rounds that are not kept

2 objects, 1.0 KiB, can be removed of 4.0 KiB; `pangea gc --remove` does it"
        );
        assert!(text(&answer(2, true)).ends_with(
            "removed 2 objects, 1.0 KiB; the store held 4.0 KiB and holds 3.0 KiB of a budget of 8.0 KiB"
        ));
    }
}
