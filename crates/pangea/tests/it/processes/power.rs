//! Whenever the power goes: the run finishes, with the same bytes.
//!
//! The system calls of an undisturbed orchestrator tell what would be on the disk had the power gone
//! after each of its syncs. A house is started on what would be left, and the same person comes
//! back with the same wish.

use std::fs;
use std::path::Path;

use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::calls::{self, Made};
use super::disk::{Disk, Kept};
use super::kills::long_form;
use super::service::{Kind, LOOK, Setting};
use super::supervised::Supervised;
use crate::scene::A_MINUTE;

/// Houses at one time.
const AT_ONCE: usize = 3;

/// Losses of power in the short form, spread over the syncs.
const SAMPLES: usize = 8;

/// The orchestrator under strace, which writes its calls to `trace`.
fn traced(settings: &[Setting], trace: &Path) -> Command {
    let plain = Kind::Orchestrator.command(settings);
    let mut command = Command::new("strace");
    // Detached: what is started, and killed, is the orchestrator itself.
    command
        .args(["-D", "-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf"])
        .args(["-e", calls::TRACED, "-o"])
        .arg(trace)
        .arg(plain.as_std().get_program())
        .env_clear()
        .kill_on_drop(true);
    for (key, value) in plain.as_std().get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    command
}

/// A run without any disturbance: its calls, its folder, and the digest of its model.
async fn undisturbed() -> (Vec<Made>, TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("data")).expect("a folder");
    let trace = folder.path().join("trace");
    let to = trace.clone();
    let start = Box::new(move |_, settings: &_| traced(settings, &to));
    let house = Supervised::start(folder, Some((Kind::Orchestrator, start)));
    let model = timeout(A_MINUTE, house.train())
        .await
        .expect("a model in time");
    assert_eq!(house.deaths(), 0, "{}", house.logs());
    let folder = house.end().await;
    timeout(A_MINUTE, until_written(&trace))
        .await
        .expect("the end of the trace");
    let trace = fs::read_to_string(&trace).expect("a trace");
    let calls = calls::read(&trace, &folder.path().join("data"));
    (calls, folder, model)
}

/// Returns when nobody writes the trace any more. strace ends when the last thread that it follows
/// has, and is no child of this process.
async fn until_written(trace: &Path) {
    while is_open(trace) {
        sleep(LOOK).await;
    }
}

/// Whether any process has the file open.
fn is_open(file: &Path) -> bool {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    entries(Path::new("/proc"))
        .flat_map(|process| entries(&process.path().join("fd")))
        .any(|open| fs::read_link(open.path()).is_ok_and(|target| target == file))
}

/// A house on what the power has left of another one's disk.
async fn afterwards(disk: TempDir) -> String {
    let house = Supervised::start(disk, None);
    let model = timeout(A_MINUTE, house.train()).await;
    let model = model.unwrap_or_else(|_| panic!("no model in time: {}", house.logs()));
    assert_eq!(house.deaths(), 0, "{}", house.logs());
    model
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_goes_after_any_sync() {
    if !test_tools::runs("the_power_goes_after_any_sync", "strace", &["--version"]) {
        return;
    }
    let (calls, folder, expected) = undisturbed().await;
    let root = folder.path().join("data");
    let syncs = {
        let mut disk = Disk::new(root.clone());
        let changes = calls.iter().filter(|made| disk.follow(made)).count();
        disk.assert_is_what_was_seen();
        changes
    };
    assert!(syncs > 20, "{syncs} syncs");
    let step = if long_form() {
        1
    } else {
        (syncs / SAMPLES).max(1)
    };

    let mut losses = Vec::new();
    let mut disk = Disk::new(root);
    let mut number = 0;
    for made in &calls {
        if !disk.follow(made) {
            continue;
        }
        number += 1;
        for kept in [Kept::Nothing, Kept::Names] {
            if number % step == 0 {
                let left = tempfile::tempdir().expect("a folder");
                fs::create_dir(left.path().join("data")).expect("a folder");
                disk.leave(kept, &left.path().join("data"));
                losses.push((number, kept, left));
            }
        }
    }
    let houses = stream::iter(losses)
        .map(|(number, kept, left)| async move { (number, kept, afterwards(left).await) })
        .buffer_unordered(AT_ONCE);
    let mut houses = std::pin::pin!(houses);
    while let Some((number, kept, model)) = houses.next().await {
        assert_eq!(model, expected, "after sync {number}, kept: {kept:?}");
    }
}
