//! A run store that an earlier version wrote.

use std::time::Duration;

use federation::event::Event;
use federation::run::RunState;
use orchestrator::store::{NewRun, Standing, migrator};
use sqlx::Connection;
use telemetry::trace::TraceContext;

use crate::facts::{NOW, new_run, plan, run, sequences};
use crate::home::{Home, at_every_home};

/// How many versions the schema had before this one.
const EARLIER: usize = 6;

at_every_home!(
    a_run_from_before_traces_is_there_and_was_not_traced,
    what_every_earlier_schema_held_is_there_and_can_be_led,
);

/// Makes the store as it was with the first `versions` of the schema.
async fn earlier_schema(home: &Home, versions: usize) {
    let mut connection = home.connect().await;
    migrator(Some(versions)).run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A run of round 4 that waits for its second client, with the first one's update.
async fn fill(home: &Home) {
    let old = new_run(1, "k");
    let digest = old.job_digest;
    let (run, job) = (old.run, serde_json::to_string(&old.job).unwrap());
    let cohort = serde_json::to_string(&plan().cohort).unwrap();
    let submitted = Event::RunStateChanged {
        state: RunState::Pending,
        reason: "submitted".to_owned(),
    };
    let submitted = serde_json::to_string(&submitted).unwrap();
    home.sql(&format!(
        "INSERT INTO runs (run, state, reason, job, job_digest, idempotency_key, dataset_digest,
                           rounds_committed, last_sequence, created_at)
         VALUES ('{run}', 'running', '', '{job}', '{digest}', 'k', '{digest}', 3, 1, 1000);
         INSERT INTO rounds (run, round, phase, cohort, quorum, base, opened_at, reason)
         VALUES ('{run}', 4, 'training', '{cohort}', 2, '{digest}', 1000, '');
         INSERT INTO attempts (run, round, client, attempt) VALUES ('{run}', 4, 1, 2);
         INSERT INTO receipts (run, round, client, position, attempt, lease_epoch, worker,
                               num_examples, num_steps, weight, mean_loss, bytes, digest,
                               object_key, accepted, reason, message, received_at)
         VALUES ('{run}', 4, 0, 0, 1, 1, 'w', 10, 5, 10.0, 0.5, 8, '{digest}', 'key', 1, '', '',
                 1000);
         INSERT INTO events (run, sequence, time, body) VALUES ('{run}', 1, 1000, '{submitted}');
         INSERT INTO datasets (name, digest, manifest, created_at)
         VALUES ('d', '{digest}', 'unread', 1000);
         INSERT INTO partitions (dataset_digest, partition_digest, shards)
         VALUES ('{digest}', '{digest}', '[1,2]');
         INSERT INTO models (name, version, run, manifest, created_at)
         VALUES ('m', 1, '{run}', 'unread', 1000);"
    ))
    .await;
}

async fn what_every_earlier_schema_held_is_there_and_can_be_led(home: Home) {
    // The file or the database is made anew for each.
    for versions in 1..=EARLIER {
        empty(&home).await;
        earlier_schema(&home, versions).await;
        fill(&home).await;
        let store = home.open().await;
        let row = store.run(run(1)).await.unwrap().unwrap();
        assert_eq!((row.rounds_committed, row.created_at), (3, NOW));
        let round = store.unfinished_round(run(1)).await.unwrap().unwrap();
        assert_eq!((round.number, round.attempts.len()), (4, 1));
        assert_eq!(store.accepted(run(1), 4).await.unwrap().len(), 1);
        assert_eq!(sequences(&store, 1).await, [1]);
        let digest = row.job_digest;
        let shards: Option<Vec<u32>> = store.partition(&digest, &digest).await.unwrap();
        assert_eq!(shards, Some(vec![1, 2]));

        let led = store.lead("a", Duration::from_secs(60), NOW).await.unwrap();
        assert!(matches!(led, Standing::Leads(_)), "{led:?}");
        assert!(store.open_round(run(1), &plan()).await.unwrap());
        assert_eq!(sequences(&store, 1).await, [1, 2]);
        store.close().await;
    }
}

async fn empty(home: &Home) {
    match home {
        Home::File(dir) => {
            for left in std::fs::read_dir(dir.path()).unwrap() {
                std::fs::remove_file(left.unwrap().path()).unwrap();
            }
        }
        Home::Server(_) => {
            home.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
                .await;
        }
    }
}

async fn a_run_from_before_traces_is_there_and_was_not_traced(home: Home) {
    earlier_schema(&home, 1).await;
    fill(&home).await;
    let store = home.open().await;
    let row = store.run(run(1)).await.unwrap().unwrap();
    assert_eq!((row.traceparent, row.tracestate), (None, None));

    let context: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        .parse()
        .unwrap();
    let new = NewRun {
        trace: Some(context.clone().with_state("vendor=7")),
        ..new_run(2, "l")
    };
    store.submit(&new, NOW).await.unwrap();
    let row = store.run(new.run).await.unwrap().unwrap();
    assert_eq!(row.traceparent, Some(context.traceparent()));
    assert_eq!(row.tracestate.as_deref(), Some("vendor=7"));
}
