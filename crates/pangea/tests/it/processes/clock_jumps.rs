//! Clocks of all processes that are set forth and back in the middle of a run.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::fleet::{Fleet, Shape};
use super::training::{ROUNDS, Training, undisturbed};

/// Tells another time of day, by as many seconds as a file says. What passes is told as it is.
const LIBRARY: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  int file = failed || clock != CLOCK_REALTIME ? -1 : open(OFFSET, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    char text[32] = {0};
    if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    close(file);
  }
  return failed;
}
"#;

/// Compiles the library; its processes read the offset from `offset`.
fn library(folder: &Path, offset: &Path) -> String {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, LIBRARY).expect("a file");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC"]);
    compiler.arg(format!("-DOFFSET=\"{}\"", offset.display()));
    let compiled = compiler.arg("-o").arg(&library).arg(source).status();
    assert!(compiled.expect("cc runs").success());
    library.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_set_by_an_hour_change_nothing() {
    if !test_tools::runs(
        "clocks_that_are_set_by_an_hour_change_nothing",
        "cc",
        &["--version"],
    ) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let offset = folder.path().join("offset");
    // In one step, so that nobody reads half of it.
    let set = |seconds: i64| {
        let new = folder.path().join("new");
        fs::write(&new, seconds.to_string()).expect("a file");
        fs::rename(new, &offset).expect("a file");
    };
    set(0);
    let library = library(folder.path(), &offset);
    let environment = vec![("LD_PRELOAD", library)];
    let mut fleet = Fleet::start_in(Shape::default(), environment).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    let hour = 3600;
    for (round, seconds) in [(1, hour), (3, -hour), (5, 24 * hour), (7, 0)] {
        training.until_committed(round).await;
        fleet.until_busy(0).await;
        set(seconds);
    }
    assert_eq!(training.finish().await, *undisturbed().await);
    let rounds = training.rounds().await;
    // Rounds go on while the clock is being set, so which one was the first to see it is open.
    let jumps = |forth: bool| {
        rounds.windows(2).any(|pair| {
            let (before, after) = (pair[0].opened_at_ms, pair[1].opened_at_ms);
            let (low, high) = if forth {
                (before, after)
            } else {
                (after, before)
            };
            high > low + 3_000_000
        })
    };
    assert!(jumps(true), "the clock was not set");
    assert!(jumps(false), "the clock was not set back");
    let mut updates = rounds.iter().flat_map(|round| &round.updates);
    assert!(updates.all(|update| update.accepted && update.lease_epoch == 1));
    fleet.end().await;
}
