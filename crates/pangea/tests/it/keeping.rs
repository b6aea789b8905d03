//! What is kept of a run, as its users meet it: where a model comes from, a round made again, and
//! what may go.

use client::v1;
use serde_json::Value;

use crate::scene::{DIGITS_JOB, SHORT_JOB, Scene, change_to, commit_of, flip, job};
use crate::shell::{Told, pangea};

async fn run(scene: &Scene, arguments: &[&str]) -> Told {
    pangea(&[arguments, &["--server", &scene.server()]].concat()).await
}

async fn json(scene: &Scene, arguments: &[&str]) -> Value {
    run(scene, &[arguments, &["--output", "json"]].concat())
        .await
        .json()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn sum(values: &Value, of: &str) -> f64 {
    let numbers = list(values).iter().map(|value| value[of].as_f64());
    numbers.map(|number| number.expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lineage_of_the_digits_adds_up() {
    let scene = Scene::with_digits(2).await;
    let trained = scene.train(&job(DIGITS_JOB, &[])).await;
    let lineage = json(&scene, &["run", "latest", "--lineage"]).await;
    let rounds = list(&lineage["rounds"]);
    assert_eq!(rounds.len(), 20);
    assert_eq!(lineage["model"]["digest"], rounds[0]["model_digest"]);
    for pair in rounds.windows(2) {
        assert_eq!(pair[0]["base_digest"], pair[1]["model_digest"]);
    }
    for (round, number) in rounds.iter().zip((1..=20).rev()) {
        assert_eq!(round["round"], number);
        let updates = &round["updates"];
        assert_eq!(list(updates).len(), 8);
        // Every training row counts once in each round.
        assert!((sum(updates, "num_examples") - 1438.0).abs() < 0.5);
        assert!((sum(updates, "weight") - 1438.0).abs() < 0.5);
        assert!((sum(updates, "share") - 1.0).abs() < 1e-12);
        let bytes = round["update_bytes"].as_f64().expect("a number");
        assert!((sum(updates, "bytes") - bytes).abs() < 0.5);
        assert_eq!(list(&round["refused"]).len(), 0);
    }
    let told = run(&scene, &["run", &trained.run, "--lineage"])
        .await
        .text();
    assert_eq!(told.matches("\nall ").count(), 20, "{told}");
    assert_eq!(told.matches(" 100.0 % ").count(), 20, "{told}");
    let longest = told.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_rounds_are_replayed_and_others_are_refused_in_words() {
    let scene = Scene::with_digits(2).await;
    scene.train(&job(SHORT_JOB, &[])).await;
    let before = scene.digest(&latest(&scene).await).await;
    for round in ["2", "3", "4"] {
        let answer = json(&scene, &["replay", "latest", round]).await;
        assert_eq!(answer["equal"], true, "{answer}");
        assert_eq!(answer["recorded_digest"], answer["replayed_digest"]);
        assert_eq!(list(&answer["updates"]).len(), 4);
        if round == "4" {
            assert_eq!(answer["replayed_digest"], before);
        }
    }
    let told = run(&scene, &["replay", "latest", "4"]).await.text();
    let first = told.lines().nth(2).expect("a line");
    assert_eq!(first, "came to    the same model, byte for byte", "{told}");

    let gone = run(&scene, &["replay", "latest", "1"]).await.refusal();
    assert!(gone.contains("rounds 2, 3, 4 can be replayed"), "{gone}");
    assert!(gone.contains("runs.keep_rounds"), "{gone}");

    let run_id = latest(&scene).await;
    let answer = json(&scene, &["replay", "latest", "3"]).await;
    let update = &answer["updates"][1];
    assert_eq!(update["client"], "client-0001", "{answer}");
    let key = update["key"].as_str().expect("a key").to_owned();
    let offset = update["offset_bytes"].as_u64().expect("an offset");
    let (path, byte) = (
        scene.artifact(&key),
        usize::try_from(offset).expect("a place"),
    );
    flip(&path, byte);
    let damaged = run(&scene, &["replay", "latest", "3"]).await.refusal();
    assert!(damaged.contains("client-0001"), "{damaged}");
    assert!(damaged.contains(&key), "{damaged}");

    // A manifest that tells of another model: the round comes to another one than that.
    let manifest = scene.artifact(&format!("runs/{run_id}/checkpoints/00004.json"));
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let other = before.replace(&before[10..14], "0000");
    std::fs::write(&manifest, text.replace(&before, &other)).expect("a manifest");
    let told = run(&scene, &["replay", "latest", "4"]).await;
    assert_eq!(told.status, 1, "{}", told.stderr);
    assert!(told.stdout.contains("ANOTHER MODEL"), "{}", told.stdout);
    assert!(told.stdout.contains(&before), "{}", told.stdout);
    assert!(told.stdout.contains(&other), "{}", told.stdout);
}

async fn latest(scene: &Scene) -> String {
    scene.client.find_run("latest").await.expect("a run").run
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_collection_models_runs_and_replays_are_as_they_were() {
    let scene = Scene::with_digits(2).await;
    let published = job(SHORT_JOB, &[("rounds: 4", "rounds: 6\npublish_as: short")]);
    let first = scene.train(&published).await;
    let long = job(
        SHORT_JOB,
        &[("seed: 7", "seed: 8"), ("rounds: 4", "rounds: 8")],
    );
    let undisturbed = scene.undisturbed(&long).await;
    let unfinished = scene.submit(&long).await;
    let mut watching = scene.watch(&unfinished, 0);
    watching.until(commit_of(2)).await;
    scene.client.pause(&unfinished).await.expect("a pause");
    watching.until(change_to(v1::RunState::Paused)).await;

    let told = run(&scene, &["gc"]).await.text();
    assert!(told.contains("checkpoints"), "{told}");
    assert!(!told.contains("shards"), "all runs are young: {told}");
    assert!(told.contains("`pangea gc --remove` does it"), "{told}");
    let now = ["gc", "--older-than", "0s"];
    let named = json(&scene, &now).await;
    assert_eq!(named["removed"], false);
    let removed = json(&scene, &[&now[..], &["--remove"]].concat()).await;
    assert_eq!(removed["removed"], true);
    assert_eq!(removed["garbage"], named["garbage"]);
    assert!(sum(&removed["garbage"], "bytes") > 0.5);
    let told = run(&scene, &[&now[..], &["--remove"]].concat())
        .await
        .text();
    assert!(told.contains("nothing of it can be removed"), "{told}");

    for round in ["4", "5", "6"] {
        let answer = json(&scene, &["replay", &first.run, round]).await;
        assert_eq!(answer["equal"], true, "{answer}");
    }
    let file = scene.dir.path().join("short.safetensors");
    let model = "short".parse().expect("a model");
    let model = scene.client.download(&model, &file).await.expect("a model");
    assert_eq!(model.digest, first.model.expect("a model").digest);

    // Over a restart, and with a round that is made again while others are made.
    let dir = scene.close().await;
    let scene = Scene::open(dir, 2).await;
    scene.client.resume(&unfinished).await.expect("a run");
    let replayed = scene.client.replay(&unfinished, 2).await.expect("a round");
    assert!(replayed.equal);
    scene.completed(&unfinished).await;
    assert_eq!(scene.digest(&unfinished).await, undisturbed);
    assert_eq!(scene.digest(&scene.train(&published).await.run).await, {
        let rounds = scene.client.rounds(&first.run).await.expect("rounds");
        rounds[5].model_digest.clone()
    });
}
