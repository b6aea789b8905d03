//! Of several processes at one run store, one leads, and only that one writes.

use std::time::Duration;

use federation::event::Event;
use federation::run::{Command, RunState};
use federation::{Digest, Timestamp};
use orchestrator::store::{Epoch, Standing, Store, StoreError};
use tokio::time::timeout;

use crate::facts::{NOW, new_run, outcome, plan, receipt, run, sequences, with_round};
use crate::home::{Home, at_every_home};
use crate::relay::Relay;
use crate::world::PATIENCE;

const MINUTE: Duration = Duration::from_secs(60);

at_every_home!(
    one_of_two_leads_and_the_other_waits,
    a_deposed_leader_commits_nothing,
    a_lease_that_nobody_else_wants_goes_on,
    who_steps_down_makes_room_and_writes_no_more,
    a_process_that_comes_back_need_not_wait_for_itself,
    no_term_commits_after_a_later_one,
);

async fn led(store: &Store, name: &str) -> Epoch {
    match store.lead(name, MINUTE, NOW).await.unwrap() {
        Standing::Leads(epoch) => epoch,
        Standing::StandsBy { leader, .. } => panic!("{leader} leads"),
    }
}

/// Has the leader's lease run out.
async fn expire(home: &Home) {
    home.sql("UPDATE leader SET expires_at = 0").await;
}

fn is_deposed<T>(done: Result<T, StoreError>, by: &str) -> bool {
    matches!(done, Err(StoreError::Deposed { leader, .. }) if leader == by)
}

fn told(reason: String) -> Event {
    Event::RoundAbandoned { round: 1, reason }
}

async fn one_of_two_leads_and_the_other_waits(home: Home) {
    let (a, b) = (home.open().await, home.open().await);
    let epoch = led(&a, "a").await;
    match b.lead("b", MINUTE, NOW).await.unwrap() {
        Standing::StandsBy { leader, left } => {
            assert_eq!(leader, "a");
            assert!(left > MINUTE / 2 && left <= MINUTE, "{left:?}");
        }
        Standing::Leads(_) => panic!("both lead"),
    }
    assert!(is_deposed(b.submit(&new_run(2, "l"), NOW).await, "a"));
    a.submit(&new_run(1, "k"), NOW).await.unwrap();
    a.renew(MINUTE, NOW).await.unwrap();
    assert_eq!(led(&a, "a").await, epoch, "it leads on");
    assert_eq!(b.runs(None, 10).await.unwrap().len(), 1, "it may read");
}

async fn a_deposed_leader_commits_nothing(home: Home) {
    let store = with_round(&home).await;
    let (a, b) = (home.open().await, home.open().await);
    let first = led(&a, "a").await;
    let under_way = a.clone();
    expire(&home).await;
    assert!(led(&b, "b").await > first);
    let before = sequences(&store, 1).await;

    let (run, digest) = (run(1), Digest::of(b"x"));
    assert!(is_deposed(a.submit(&new_run(2, "l"), NOW).await, "b"));
    assert!(is_deposed(
        a.tell(run, NOW, &told(String::new())).await,
        "b"
    ));
    assert!(is_deposed(
        a.receive(run, &receipt(1), &Ok(()), &[]).await,
        "b"
    ));
    assert!(is_deposed(a.commit_round(run, &outcome(), NOW).await, "b"));
    assert!(is_deposed(a.open_round(run, &plan()).await, "b"));
    let moved = a.close_training(run, 1).await;
    assert!(is_deposed(moved, "b"));
    let put = a.put_partition(&digest, &digest, &[1]).await;
    assert!(is_deposed(put, "b"));
    assert!(is_deposed(a.command(run, Command::Cancel, NOW).await, "b"));
    assert!(is_deposed(a.fail_run(run, "why", NOW).await, "b"));
    assert!(is_deposed(a.renew(MINUTE, NOW).await, "b"));
    assert!(is_deposed(a.lead("a", MINUTE, NOW).await, "b"));
    a.step_down().await.unwrap();

    assert_eq!(sequences(&store, 1).await, before);
    let row = store.run(run).await.unwrap().unwrap();
    assert_eq!((row.state, row.rounds_committed), (RunState::Running, 0));
    assert!(store.receipts(run, 1).await.unwrap().is_empty());
    let shards: Option<Vec<u32>> = store.partition(&digest, &digest).await.unwrap();
    assert_eq!(shards, None);
    b.tell(run, NOW, &told(String::new())).await.unwrap();

    // It may lead again, but what it had under way stays refused.
    b.step_down().await.unwrap();
    let again = home.open().await;
    led(&again, "a").await;
    again.tell(run, NOW, &told(String::new())).await.unwrap();
    let late = under_way.tell(run, NOW, &told(String::new())).await;
    assert!(is_deposed(late, "a"));
}

async fn a_lease_that_nobody_else_wants_goes_on(home: Home) {
    let a = home.open().await;
    let epoch = led(&a, "a").await;
    expire(&home).await;
    a.submit(&new_run(1, "k"), NOW).await.unwrap();
    a.renew(MINUTE, NOW).await.unwrap();
    let b = home.open().await;
    let asked = b.lead("b", MINUTE, NOW).await.unwrap();
    assert!(matches!(asked, Standing::StandsBy { .. }), "{asked:?}");
    assert_eq!(led(&a, "a").await, epoch);
}

async fn who_steps_down_makes_room_and_writes_no_more(home: Home) {
    let (a, b) = (home.open().await, home.open().await);
    led(&a, "a").await;
    a.step_down().await.unwrap();
    assert!(is_deposed(a.submit(&new_run(1, "k"), NOW).await, "nobody"));
    led(&b, "b").await;
    b.submit(&new_run(1, "k"), NOW).await.unwrap();
}

async fn a_process_that_comes_back_need_not_wait_for_itself(home: Home) {
    let before = home.open().await;
    let epoch = led(&before, "a").await;
    let after = home.open().await;
    assert!(led(&after, "a").await > epoch);
    // It was slow to die.
    assert!(is_deposed(before.submit(&new_run(1, "k"), NOW).await, "a"));
}

/// Takes over again and again, and tells after each time in which term.
async fn contend(home: &Home, name: &str) {
    for _ in 0..12 {
        let store = home.open().await;
        // No lease at all: whoever asks next leads.
        let standing = store.lead(name, Duration::ZERO, NOW).await.unwrap();
        let Standing::Leads(epoch) = standing else {
            panic!("{standing:?}");
        };
        for _ in 0..4 {
            let term = told(format!("{epoch:?}"));
            match store.tell(run(1), NOW, &term).await {
                Ok(()) => {}
                Err(StoreError::Deposed { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn no_term_commits_after_a_later_one(home: Home) {
    let store = with_round(&home).await;
    let from = sequences(&store, 1).await.len() as u64;
    tokio::join!(
        contend(&home, "a"),
        contend(&home, "b"),
        contend(&home, "c")
    );
    let events = store.events_after(run(1), from).await.unwrap();
    let terms = events.iter().map(|stored| match &stored.event {
        Event::RoundAbandoned { reason, .. } => {
            let number = reason.trim_start_matches("Epoch(").trim_end_matches(')');
            number.parse::<i64>().unwrap()
        }
        other => panic!("{other:?}"),
    });
    let terms: Vec<_> = terms.collect();
    assert!(terms.is_sorted(), "{terms:?}");
    assert!(terms.len() >= 4, "the last term is whole: {terms:?}");
}

#[tokio::test]
async fn in_a_file_the_caller_says_what_time_it_is() {
    let home = Home::file();
    let (a, b) = (home.open().await, home.open().await);
    led(&a, "a").await;
    let minute = u64::try_from(MINUTE.as_millis()).unwrap();
    let just_before = Timestamp(NOW.0 + minute - 1);
    let standing = b.lead("b", MINUTE, just_before).await.unwrap();
    let left = Duration::from_millis(1);
    let leader = "a".to_owned();
    assert_eq!(standing, Standing::StandsBy { leader, left });
    let then = Timestamp(NOW.0 + minute);
    let standing = b.lead("b", MINUTE, then).await.unwrap();
    assert!(matches!(standing, Standing::Leads(_)), "{standing:?}");
}

#[tokio::test]
async fn on_a_server_its_clock_says_what_time_it_is() {
    let test = "leading::on_a_server_its_clock_says_what_time_it_is";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let (a, b) = (home.open().await, home.open().await);
    let ages_ago = Timestamp(0);
    a.lead("a", MINUTE, ages_ago).await.unwrap();
    let in_ages = Timestamp(u64::MAX / 4);
    let standing = b.lead("b", MINUTE, in_ages).await.unwrap();
    assert!(
        matches!(standing, Standing::StandsBy { .. }),
        "{standing:?}"
    );
    // A millisecond on that clock, however fast ours is.
    a.renew(Duration::from_millis(1), in_ages).await.unwrap();
    let takes_over = async {
        while let Standing::StandsBy { .. } = b.lead("b", MINUTE, ages_ago).await.unwrap() {}
    };
    timeout(PATIENCE, takes_over).await.unwrap();
}

#[tokio::test]
async fn commits_of_one_process_wake_another_one() {
    let test = "leading::commits_of_one_process_wake_another_one";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let (a, b) = (home.open().await, home.open().await);
    a.submit(&new_run(1, "k"), NOW).await.unwrap();
    let mut commits = b.commits();
    // The first change may be that it began to listen.
    for _ in 0..3 {
        commits.catch_up();
        a.tell(run(1), NOW, &told(String::new())).await.unwrap();
        timeout(PATIENCE, commits.rung()).await.unwrap();
    }
}

#[tokio::test]
async fn who_does_not_hear_that_it_leads_does_not_write() {
    let test = "leading::who_does_not_hear_that_it_leads_does_not_write";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let relay = Relay::start("127.0.0.1:0", &home.address()).await;
    let store = home.open_through(&relay).await;
    relay.lose_next_commit();
    let lost = store.lead("a", MINUTE, NOW).await;
    assert!(matches!(lost, Err(StoreError::Statement(_))), "{lost:?}");
    assert!(is_deposed(store.submit(&new_run(1, "k"), NOW).await, "a"));
    led(&store, "a").await;
    store.submit(&new_run(1, "k"), NOW).await.unwrap();
}
