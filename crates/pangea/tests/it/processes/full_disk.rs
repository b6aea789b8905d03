//! A disk without room: what does not fit is refused or waits, and nothing is lost.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use client::{ClientError, ImportOptions, v1};

use super::linked::{Habits, Linked};
use super::training::{ROUNDS, Training, undisturbed};
use crate::scene::{DIGITS, digits_options};

/// Puts a small disk of its own below the orchestrator, which nobody else sees.
fn on_a_small_disk(data: &str) -> Vec<String> {
    let script = format!("mount -t tmpfs -o size=12m none '{data}' && exec \"$0\"");
    let words = ["unshare", "--mount", "sh", "-c", &script];
    words.map(str::to_owned).into()
}

/// Takes all the room that there is.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).expect("a file");
    for piece in [64 * 1024, 1024, 1] {
        let zeros = vec![0; piece];
        while file.write_all(&zeros).is_ok() {}
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_waited_for_and_nothing_is_lost() {
    let test = "a_full_disk_is_named_and_waited_for_and_nothing_is_lost";
    let mounts = ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
    if !test_tools::runs(test, "unshare", &mounts) {
        return;
    }
    let net = Linked::start_by(Habits::default(), on_a_small_disk).await;
    net.until_complete().await;
    let filler = fill(&net.seen_data_dir());
    let options = ImportOptions {
        name: "other".to_owned(),
        ..digits_options()
    };
    let client = net.client();
    let refused = client.import_dataset(Path::new(DIGITS), &options);
    let refused: ClientError = refused.await.expect_err("no room");
    let refused = refused.to_string();
    assert!(refused.contains("No space left on device"), "{refused}");
    assert!(refused.contains(&net.data_dir()), "{refused}");
    let kept: Vec<v1::Dataset> = net.client().datasets().await.expect("data sets");
    assert!(kept.is_empty(), "{kept:?}");
    fs::remove_file(&filler).expect("room");

    let mut training = Training::begin(net.client(), ROUNDS).await;
    training.until_committed(2).await;
    let filler = fill(&net.seen_data_dir());
    // The artifacts' or the run store's, whichever is written first.
    net.orchestrator.until_logged(" disk ").await;
    fs::remove_file(filler).expect("room");
    assert_eq!(training.finish().await, *undisturbed().await);
}
