//! Objects that are damaged where they lie: what needs them says so, by name, and nothing else
//! suffers.

use std::path::{Path, PathBuf};

use client::v1;
use client::v1::event::Kind;

use crate::scene::{SHORT_JOB, Scene, change_to, commit_of, count, flip, job};

fn tamper(path: &Path) {
    let len = std::fs::read(path).expect("an object").len();
    flip(path, len - 1);
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).expect("an object");
    std::fs::write(path, &bytes[..bytes.len() - 5]).expect("an object to write");
}

/// The key of some shard.
fn a_shard(scene: &Scene) -> String {
    let first_in = |folder: PathBuf| {
        let mut entries = std::fs::read_dir(folder).expect("a folder");
        entries.next().expect("an entry").expect("an entry").path()
    };
    let path = first_in(first_in(scene.artifact("shards")));
    let key = path.strip_prefix(scene.artifact("")).expect("an object");
    key.to_str().expect("a key").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_shard_fails_the_run_and_is_named() {
    for (damage, problem) in [
        (truncate as fn(&Path), "lie outside of object"),
        (tamper, "has digest blake3:"),
    ] {
        let mut scene = Scene::with_digits(2).await;
        let job = job(SHORT_JOB, &[("rounds: 4", "rounds: 1\npublish_as: short")]);
        scene.train(&job).await;
        let key = a_shard(&scene);
        damage(&scene.artifact(&key));
        // What compute-core holds is still right.
        assert_eq!(scene.train(&job).await.state(), v1::RunState::Completed);
        scene.house.stop_compute().await;
        scene.house.start_compute().await.unwrap();

        let run = scene.train(&job).await;
        assert_eq!(run.state(), v1::RunState::Failed);
        let told = "round 1 was abandoned: 1 of 4 clients were given up";
        assert!(run.reason.starts_with(told), "{}", run.reason);
        assert!(
            run.reason.contains("the last failure: shard: "),
            "{}",
            run.reason
        );
        assert!(
            run.reason.contains(&format!("object {key}")),
            "{}",
            run.reason
        );
        assert!(run.reason.contains(problem), "{}", run.reason);
        let models = scene.client.models(Some("short")).await.unwrap();
        assert_eq!(models.len(), 2, "a failed run publishes nothing");
        let other = job_of_another_partition();
        assert_eq!(scene.train(&other).await.state(), v1::RunState::Completed);
    }
}

fn job_of_another_partition() -> client::JobSpec {
    job(
        SHORT_JOB,
        &[("seed: 7", "seed: 8"), ("rounds: 4", "rounds: 1")],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_fails_the_run_at_a_restart_and_is_named() {
    let scene = Scene::with_digits(2).await;
    let run = scene
        .submit(&job(SHORT_JOB, &[("rounds: 4", "rounds: 40")]))
        .await;
    scene.watch(&run, 0).until(commit_of(2)).await;
    let dir = scene.close().await;
    let artifacts = dir.path().join("artifacts");
    let read = |key: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(artifacts.join(key)).unwrap()).unwrap()
    };
    let checkpoints = format!("runs/{run}/checkpoints");
    let manifests = std::fs::read_dir(artifacts.join(&checkpoints)).unwrap();
    let round = |entry: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_suffix(".json")?.parse().ok()
    };
    let round = manifests.filter_map(round).max().unwrap();
    let manifest = read(&format!("{checkpoints}/{round:05}.json"));
    let key = &manifest["model"]["parameters"]["key"];
    let key = key.as_str().unwrap().to_owned();
    tamper(&artifacts.join(&key));

    let scene = Scene::open(dir, 2).await;
    let run = scene.ended(&run).await;
    assert_eq!(run.state(), v1::RunState::Failed);
    let told = format!("object {key} has digest blake3:");
    assert!(run.reason.starts_with(&told), "{}", run.reason);
    assert!(u64::from(run.rounds_committed) <= round);
    scene
        .undisturbed(&job(SHORT_JOB, &[("rounds: 4", "rounds: 1")]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_update_is_refused_and_trained_again_to_the_same_digest() {
    let scene = Scene::with_digits(2).await;
    let slow = job(
        SHORT_JOB,
        &[("epochs: 1", "steps: 8000"), ("rounds: 4", "rounds: 3")],
    );
    let undisturbed = scene.undisturbed(&slow).await;
    let run = scene.submit(&slow).await;
    let mut watching = scene.watch(&run, 0);
    watching.until(commit_of(1)).await;
    let accepted = |kind: &Kind| matches!(kind, Kind::UpdateAccepted(update) if update.round == 2);
    watching.until(accepted).await;
    scene.client.pause(&run).await.unwrap();
    // A paused round takes updates and does not close.
    while count(&watching.seen, accepted) < 4 {
        watching.until(accepted).await;
    }
    // The four lie one behind the other, in the order in which they came.
    let bundle = bundle(&scene.artifact(&format!("runs/{run}/rounds")), "00002.");
    let len = std::fs::read(&bundle).expect("a bundle").len();
    flip(&bundle, len / 4);
    truncate(&bundle);
    scene.client.resume(&run).await.unwrap();

    let events = watching.rest().await;
    let refused: Vec<_> = events.iter().filter_map(refusal).collect();
    let [first, second] = &refused[..] else {
        panic!("{refused:#?}");
    };
    assert_eq!(
        (&first.reason[..], &second.reason[..]),
        ("damaged", "damaged")
    );
    let name = bundle.file_name().and_then(|name| name.to_str()).unwrap();
    for told in [&first.message, &second.message] {
        assert!(told.contains(name), "{told}");
    }
    assert_eq!(count(&events, change_to(v1::RunState::Completed)), 1);
    assert_eq!(scene.digest(&run).await, undisturbed);
    let rounds = scene.client.rounds(&run).await.unwrap();
    for client in (0..4).map(|client| format!("client-{client:04}")) {
        let updates = rounds[1].updates.iter();
        let of_client = updates.filter(|update| update.client == client);
        let attempts: Vec<_> = of_client
            .map(|update| (update.attempt, update.accepted))
            .collect();
        let is_damaged = [first, second].iter().any(|told| told.client == client);
        match is_damaged {
            true => assert_eq!(attempts, [(1, false), (2, true)], "{client}"),
            false => assert_eq!(attempts, [(1, true)], "{client}"),
        }
    }
}

/// The file in this folder whose name begins so.
fn bundle(folder: &Path, begins: &str) -> PathBuf {
    let mut files = std::fs::read_dir(folder).expect("a folder");
    let is_it = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(begins))
    };
    files
        .find_map(|entry| Some(entry.ok()?.path()).filter(is_it))
        .expect("a bundle")
}

fn refusal(event: &v1::Event) -> Option<&v1::event::UpdateRefused> {
    match event.kind.as_ref()? {
        Kind::UpdateRefused(refused) => Some(refused),
        _ => None,
    }
}
