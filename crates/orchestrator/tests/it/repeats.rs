//! Whoever does not hear what became of an operation makes it again; it is done once.

use federation::acceptance::Refusal;
use federation::event::Event;
use federation::run::{Command, RunState};
use federation::{ClientId, WorkerId};
use orchestrator::store::{Store, StoreError, Submission};

use crate::facts::{NOW, close, manifest, new_run, outcome, plan, receipt, run, sequences};
use crate::home::{Home, at_every_home};
use crate::relay::Relay;

at_every_home!(what_is_made_again_is_done_once);

/// Makes an operation again and again: both times without a fault, or until its answer comes
/// through.
struct Repeat {
    relay: Option<Relay>,
}

impl Repeat {
    async fn twice<T>(&self, operation: impl AsyncFn() -> Result<T, StoreError>) -> T {
        let Some(relay) = &self.relay else {
            operation().await.unwrap();
            return operation().await.unwrap();
        };
        relay.lose_next_commit();
        let lost = operation().await;
        assert!(matches!(lost, Err(StoreError::Statement(_))));
        assert!(relay.has_lost_it());
        operation().await.unwrap()
    }
}

/// Does all that is done for a run, each step of it twice.
async fn work(store: &Store, repeat: &Repeat) {
    let new = new_run(1, "k");
    let submitted = repeat.twice(async || store.submit(&new, NOW).await).await;
    assert!(matches!(submitted, Submission::Existed(row) if row.run == run(1)));
    repeat
        .twice(async || {
            let (from, to) = (RunState::Pending, RunState::Running);
            store.move_run(run(1), from, to, "", NOW).await
        })
        .await;
    let plan = plan();
    assert!(
        repeat
            .twice(async || store.open_round(run(1), &plan).await)
            .await
    );
    receive(store, repeat).await;
    close(store).await;
    let outcome = outcome();
    let committed = repeat.twice(async || store.commit_round(run(1), &outcome, NOW).await);
    assert!(committed.await);
    for command in [Command::Pause, Command::Resume] {
        let row = repeat.twice(async || store.command(run(1), command, NOW).await);
        row.await.unwrap().unwrap();
    }
    let manifest = manifest("m");
    let published = repeat
        .twice(async || store.publish("m", run(1), &manifest, "done", NOW).await)
        .await;
    assert_eq!(published.map(|model| model.version), Some(1));
}

/// A failed task, a refused update, a damaged one, and one that counts.
async fn receive(store: &Store, repeat: &Repeat) {
    let failed = Event::TaskFailed {
        round: 1,
        client: ClientId(1),
        worker: WorkerId("w".to_owned()),
        attempt: 1,
        message: String::new(),
    };
    let again = [(ClientId(1), 2)];
    repeat
        .twice(async || store.retry(run(1), 1, &again, NOW, &failed).await)
        .await;
    let refused = Err(Refusal::Duplicate);
    repeat
        .twice(async || store.receive(run(1), &receipt(1), &refused, &[]).await)
        .await;
    repeat
        .twice(async || store.receive(run(1), &receipt(2), &Ok(()), &[]).await)
        .await;
    let damaged = Refusal::Damaged {
        problem: "rot".to_owned(),
    };
    let again = [(ClientId(1), 3)];
    let second = receipt(2);
    repeat
        .twice(async || store.revoke(run(1), &second, &damaged, &again, NOW).await)
        .await;
    repeat
        .twice(async || store.receive(run(1), &receipt(3), &Ok(()), &[]).await)
        .await;
}

async fn check(store: &Store) {
    let events = store.events_after(run(1), 0).await.unwrap();
    let told: Vec<_> = events.iter().map(|stored| &stored.event).collect();
    assert!(
        sequences(store, 1).await.into_iter().eq(1..=13),
        "{told:#?}"
    );
    let verdicts: Vec<_> = (store.receipts(run(1), 1).await.unwrap().into_iter())
        .map(|receipt| (receipt.attempt, receipt.accepted))
        .collect();
    assert_eq!(verdicts, [(1, false), (2, false), (3, true)]);
    let row = store.run(run(1)).await.unwrap().unwrap();
    assert_eq!((row.state, row.rounds_committed), (RunState::Completed, 1));
    assert_eq!(store.versions("m", u32::MAX, 10).await.unwrap().len(), 1);
}

async fn what_is_made_again_is_done_once(home: Home) {
    let store = home.open().await;
    work(&store, &Repeat { relay: None }).await;
    check(&store).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_made_twice() {
    let test = "repeats::a_commit_whose_answer_is_lost_is_not_made_twice";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let relay = Relay::start("127.0.0.1:0", &home.address()).await;
    let store = home.open_through(&relay).await;
    let repeat = Repeat { relay: Some(relay) };
    work(&store, &repeat).await;
    check(&store).await;
}
