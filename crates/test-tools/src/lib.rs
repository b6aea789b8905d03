//! What tests use that is no crate: programs, and servers that `scripts/with-backends.sh` started.
//!
//! A test asks first, and returns where the answer is no. That it was skipped is written into the
//! file that `PANGEA_SKIPPED_FILE` names, one line for each; with `REQUIRE_TOOLS=1` it fails
//! instead.

#![expect(
    clippy::disallowed_methods,
    reason = "what a test needs to know of its surroundings stands in variables"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

/// Where LocalStack answers, if it was started: `http://127.0.0.1:PORT`.
#[must_use]
pub fn localstack(test: &str) -> Option<String> {
    started(test, "PANGEA_TEST_AWS_ENDPOINT", "LocalStack")
}

/// Where PostgreSQL answers, if it was started: the URL of its maintenance database, for a user who
/// may make others.
#[must_use]
pub fn postgres(test: &str) -> Option<String> {
    started(test, "PANGEA_TEST_POSTGRES", "PostgreSQL")
}

/// Whether `program` runs with `probe` as its arguments.
#[must_use]
pub fn runs(test: &str, program: &str, probe: &[&str]) -> bool {
    let answer = Command::new(program).args(probe).output();
    let runs = answer.is_ok_and(|answer| answer.status.success());
    if !runs {
        let probe = probe.join(" ");
        skip(
            test,
            &format!("{program} {probe} does not run; `make tools` sets it up"),
        );
    }
    runs
}

fn started(test: &str, variable: &str, server: &str) -> Option<String> {
    let place = std::env::var(variable).ok();
    if place.is_none() {
        skip(
            test,
            &format!("{server} does not run; `make test` starts it where `make tools` set it up"),
        );
    }
    place
}

/// Notes that a test does not run, and why.
///
/// # Panics
///
/// Where tools are required.
fn skip(test: &str, reason: &str) {
    let is_required = std::env::var_os("REQUIRE_TOOLS").is_some_and(|required| required == "1");
    assert!(!is_required, "{reason}");
    if let Some(file) = std::env::var_os("PANGEA_SKIPPED_FILE") {
        let skipped = OpenOptions::new().append(true).create(true).open(file);
        let mut skipped = skipped.expect("the file of skipped tests");
        writeln!(skipped, "SKIPPED: {test}: {reason}").expect("a line");
    }
}
