//! A server that goes away and comes back.

use federation::RunId;
use federation::event::Event;
use orchestrator::store::{Store, StoreError, Submission};
use sqlx::{Connection, Row};
use tokio::time::timeout;

use crate::facts::{NOW, new_run, run, sequences};
use crate::home::Home;
use crate::relay::Relay;
use crate::world::PATIENCE;

/// Ends every session in the database but the one that says so, and waits until they are gone.
const END_SESSIONS: &str = "SELECT pg_terminate_backend(pid, 10000)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// Submits until it is done, however often the store fails.
async fn submit(store: &Store, number: u128) -> RunId {
    loop {
        match store
            .submit(&new_run(number, &number.to_string()), NOW)
            .await
        {
            Ok(Submission::Started(row) | Submission::Existed(row)) => return row.run,
            Err(StoreError::Statement(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn sessions_that_end_between_statements_are_not_missed() {
    let test = "outages::sessions_that_end_between_statements_are_not_missed";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let store = home.open().await;
    for number in 1..=3 {
        let new = new_run(number, &number.to_string());
        store.submit(&new, NOW).await.unwrap();
        home.sql(END_SESSIONS).await;
    }
    assert_eq!(store.runs(None, 10).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_while_sessions_end_at_any_time() {
    let test = "outages::work_goes_on_while_sessions_end_at_any_time";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let store = home.open().await;
    let submitting = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 1..=50 {
                submit(&store, number).await;
            }
        })
    };
    while !submitting.is_finished() {
        home.sql(END_SESSIONS).await;
    }
    submitting.await.unwrap();
    assert_eq!(store.runs(None, 100).await.unwrap().len(), 50);
    for number in 1..=50 {
        assert_eq!(sequences(&store, number).await, [1]);
    }
}

#[tokio::test]
async fn a_session_that_ends_within_a_statement_fails_it_and_leaves_nothing() {
    let test = "outages::a_session_that_ends_within_a_statement_fails_it_and_leaves_nothing";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let store = home.open().await;
    // Another writer has the lock, so that this one waits in the middle of its transaction.
    let mut other = home.connect().await;
    let lock = sqlx::raw_sql("BEGIN; SELECT * FROM leader FOR UPDATE");
    lock.execute(&mut other).await.unwrap();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.submit(&new_run(1, "k"), NOW).await })
    };
    // A connection of its own, since a transaction sees the sessions that it saw first.
    let mut looking = home.connect().await;
    let waits = async {
        let query = "SELECT count(*) AS waiting FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        loop {
            let row = sqlx::query(query).fetch_one(&mut looking).await.unwrap();
            if row.get::<i64, _>("waiting") == 1 {
                break;
            }
        }
    };
    timeout(PATIENCE, waits).await.unwrap();
    home.sql(&format!("{END_SESSIONS} AND wait_event_type = 'Lock'"))
        .await;
    let failed = waiting.await.unwrap();
    assert!(
        matches!(failed, Err(StoreError::Statement(_))),
        "{failed:?}"
    );
    assert!(store.runs(None, 10).await.unwrap().is_empty());
    other.close().await.unwrap();
    assert_eq!(submit(&store, 1).await, run(1));
}

#[tokio::test]
async fn a_store_waits_for_a_server_that_is_away_for_a_moment() {
    let test = "outages::a_store_waits_for_a_server_that_is_away_for_a_moment";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let relay = Relay::start("127.0.0.1:0", &home.address()).await;
    let store = home.open_through(&relay).await;
    submit(&store, 1).await;
    let address = relay.address.to_string();
    drop(relay);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { submit(&store, 2).await })
    };
    // It is refused meanwhile.
    let waits = async {
        while std::net::TcpStream::connect(&address).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap();
    let _relay = Relay::start(&address, &home.address()).await;
    timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(store.runs(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn others_are_heard_again_after_an_outage() {
    let test = "outages::others_are_heard_again_after_an_outage";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let (a, b) = (home.open().await, home.open().await);
    submit(&a, 1).await;
    for _ in 0..2 {
        home.sql(END_SESSIONS).await;
        let mut commits = b.commits();
        for _ in 0..5 {
            commits.catch_up();
            let event = Event::RoundAbandoned {
                round: 1,
                reason: String::new(),
            };
            a.tell(run(1), NOW, &event).await.unwrap();
            timeout(PATIENCE, commits.rung()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_is_named_without_the_password() {
    let test = "outages::a_server_that_lets_nobody_in_is_named_without_the_password";
    let Some(home) = Home::server(test).await else {
        return;
    };
    let address = home.address();
    let url = format!("postgres://stranger:s3cret@{address}/runs");
    let error = Home::try_open(&url).await.unwrap_err().to_string();
    let place = format!("cannot open the run store postgres://{address}/runs: ");
    assert!(error.starts_with(&place), "{error}");
    assert!(error.contains("stranger"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}
