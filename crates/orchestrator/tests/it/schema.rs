//! A run store that an earlier version wrote.

use std::borrow::Cow;
use std::path::Path;

use orchestrator::store::NewRun;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use telemetry::trace::TraceContext;

use crate::facts::{NOW, new_run};
use crate::world::open_store;

/// A file as it was before runs knew their traces.
async fn first_schema(path: &Path, statement: String) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let mut migrator = sqlx::migrate!();
    migrator.migrations = Cow::Owned(migrator.migrations[..1].to_vec());
    migrator.run(&pool).await.unwrap();
    let inserting = sqlx::query(sqlx::AssertSqlSafe(statement));
    inserting.execute(&pool).await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn a_run_from_before_traces_is_there_and_was_not_traced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.sqlite");
    let old = new_run(1, "k");
    let row = format!(
        "INSERT INTO runs (run, state, reason, job, job_digest, idempotency_key, dataset_digest,
                           rounds_committed, last_sequence, created_at)
         VALUES ('{}', 'running', '', '{}', '{}', 'k', '{}', 3, 7, 1000)",
        old.run,
        serde_json::to_string(&old.job).unwrap(),
        old.job_digest,
        old.dataset_digest,
    );
    first_schema(&path, row).await;
    let store = open_store(&path).await;
    let row = store.run(old.run).await.unwrap().unwrap();
    assert_eq!((row.rounds_committed, row.created_at), (3, NOW));
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
