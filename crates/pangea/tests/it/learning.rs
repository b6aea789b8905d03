//! What a house learns, and from which rows.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::scene::{DIGITS_JOB, SHORT_JOB, Scene, job};

const TEST_ROWS: usize = 359;
const TRAIN_ROWS: usize = 1438;

#[tokio::test(flavor = "multi_thread")]
async fn the_digits_train_to_at_least_95_percent_over_five_seeds() {
    let scene = Scene::with_digits(2).await;
    let mut runs = Vec::new();
    for seed in 1..=5 {
        let seed = format!("seed: {seed}");
        runs.push(scene.submit(&job(DIGITS_JOB, &[("seed: 7", &seed)])).await);
    }
    let mut accuracies = Vec::new();
    for run in runs {
        let run = scene.completed(&run).await;
        assert_eq!(run.rounds_committed, 20);
        accuracies.push(run.accuracy.expect("an accuracy"));
    }
    accuracies.sort_by(f64::total_cmp);
    assert!(accuracies[2] >= 0.95, "median of {accuracies:?}");
    assert!(accuracies[0] >= 0.93, "{accuracies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_row_is_in_no_shard_and_every_other_row_is_in_one() {
    let scene = Scene::with_digits(1).await;
    let job = job(SHORT_JOB, &[("rounds: 4", "rounds: 1")]);
    let run = scene.submit(&job).await;
    scene.completed(&run).await;

    let data = files_under(&scene.artifact("datasets"));
    let test = data.iter().map(|file| rows_of(file));
    let test = test.into_iter().find(|rows| rows.len() == TEST_ROWS);
    let test: HashSet<Vec<u8>> = test.expect("the test rows").into_iter().collect();
    let shards = files_under(&scene.artifact("shards"));
    assert_eq!(shards.len(), 4);
    let trained: Vec<Vec<u8>> = shards.iter().flat_map(|file| rows_of(file)).collect();
    assert_eq!(trained.len(), TRAIN_ROWS);
    assert!(trained.iter().all(|row| !test.contains(row)));
    let different: HashSet<&Vec<u8>> = trained.iter().collect();
    assert_eq!(different.len(), TRAIN_ROWS);

    let round = &scene.client.rounds(&run).await.unwrap()[0];
    let examples: u64 = round.updates.iter().map(|update| update.num_examples).sum();
    assert_eq!(examples, TRAIN_ROWS as u64);
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// The bytes of each row's 64 features in a safetensors file; none in a manifest.
fn rows_of(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).expect("an object");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let Some(header) = usize::try_from(length)
        .ok()
        .and_then(|len| bytes.get(8..8 + len))
    else {
        return Vec::new();
    };
    let layout: serde_json::Value = serde_json::from_slice(header).expect("a header");
    let offsets = &layout["features"]["data_offsets"];
    let at = |end: usize| {
        let offset = offsets[end].as_u64().expect("an offset");
        usize::try_from(offset).expect("an offset in memory")
    };
    let data = &bytes[8 + header.len()..][at(0)..at(1)];
    data.chunks_exact(64 * 4).map(<[u8]>::to_vec).collect()
}
