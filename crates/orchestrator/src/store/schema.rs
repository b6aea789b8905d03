//! The versions of the schema, oldest first. One that was released is never changed: each store
//! knows by a digest which text it was brought up with.

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const VERSIONS: [(&str, &str); 7] = [
    ("first", include_str!("../../migrations/0001_first.sql")),
    ("trace", include_str!("../../migrations/0002_trace.sql")),
    ("leader", include_str!("../../migrations/0003_leader.sql")),
    (
        "unfinished",
        include_str!("../../migrations/0004_unfinished.sql"),
    ),
    ("kernels", include_str!("../../migrations/0005_kernels.sql")),
    ("bundles", include_str!("../../migrations/0006_bundles.sql")),
    (
        "sequences",
        include_str!("../../migrations/0007_sequences.sql"),
    ),
];

/// Brings a store up to the version `last`, or to the newest.
#[must_use]
pub fn migrator(last: Option<usize>) -> Migrator {
    let version = |(number, (name, sql)): (i64, (&'static str, &'static str))| {
        let (name, sql) = (Cow::Borrowed(name), SqlStr::from_static(sql));
        Migration::new(number, name, MigrationType::Simple, sql, false)
    };
    let versions = (1..).zip(VERSIONS).map(version);
    Migrator::with_migrations(versions.take(last.unwrap_or(usize::MAX)).collect())
}
