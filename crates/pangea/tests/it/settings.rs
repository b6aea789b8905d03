//! What a job can ask for, and what comes of it.

use client::v1;

use crate::scene::{SHORT_JOB, Scene, job};

const MODEL: &str = "{ kind: mlp, hidden: [16], activation: relu }";
const OPTIMIZER: &str = "{ kind: sgd, learning_rate: 0.05, momentum: 0.9 }";
const PARTITION: &str = "{ kind: dirichlet, alpha: 0.5, clients: 4 }";

fn accuracies(rounds: &[v1::Round]) -> Vec<f64> {
    let accuracy = |round: &v1::Round| round.accuracy.expect("an accuracy");
    rounds.iter().map(accuracy).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_the_round_that_reaches_its_target() {
    let scene = Scene::with_digits(2).await;
    let stop = "rounds: 40\nstop: { target: { metric: accuracy, value: 0.85 } }";
    let run = scene.train(&job(SHORT_JOB, &[("rounds: 4", stop)])).await;
    assert_eq!(run.state(), v1::RunState::Completed);
    let rounds = scene.client.rounds(&run.run).await.unwrap();
    let (last, before) = rounds.split_last().unwrap();
    assert!(accuracies(before).iter().all(|accuracy| *accuracy < 0.85));
    let reached = last.accuracy.unwrap();
    assert!(reached >= 0.85);
    let told = format!(
        "the accuracy reached its target in round {} with {reached:.4}",
        last.round
    );
    assert_eq!(run.reason, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_the_loss_has_not_fallen_for_its_patience() {
    let scene = Scene::with_digits(2).await;
    let changes = [
        ("rounds: 4", "rounds: 60\nstop: { patience: 2 }"),
        ("learning_rate: 0.05", "learning_rate: 0.4"),
    ];
    let run = scene.train(&job(SHORT_JOB, &changes)).await;
    assert_eq!(run.state(), v1::RunState::Completed);
    let rounds = scene.client.rounds(&run.run).await.unwrap();
    let losses: Vec<f64> = rounds.iter().map(|round| round.loss.unwrap()).collect();
    let best = losses.len() - 3;
    assert!(
        losses.iter().all(|loss| *loss >= losses[best]),
        "{losses:?}"
    );
    let told = format!(
        "the loss has not fallen in 2 rounds; round {} was the best",
        best + 1
    );
    assert_eq!(run.reason, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fraction_of_the_clients_takes_part_and_another_one_in_the_next_round() {
    let scene = Scene::with_digits(2).await;
    let cohort = "rounds: 4\ncohort: { fraction: 0.5, quorum: 0.5 }";
    let changes = [("clients: 4", "clients: 8"), ("rounds: 4", cohort)];
    let run = scene.train(&job(SHORT_JOB, &changes)).await;
    assert_eq!(run.state(), v1::RunState::Completed);
    let rounds = scene.client.rounds(&run.run).await.unwrap();
    for round in &rounds {
        assert_eq!((round.cohort.len(), round.quorum), (4, 2));
        let accepted = round.updates.iter().filter(|update| update.accepted);
        let clients: Vec<&String> = accepted.map(|update| &update.client).collect();
        assert!(clients.len() >= 2);
        assert!(clients.iter().all(|client| round.cohort.contains(client)));
    }
    assert!(rounds.iter().any(|round| round.cohort != rounds[0].cohort));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_from_a_published_model_and_publishes_the_next_version() {
    let scene = Scene::with_digits(2).await;
    let publish = "rounds: 3\npublish_as: base";
    let fresh = scene
        .train(&job(SHORT_JOB, &[("rounds: 4", publish)]))
        .await;
    assert_eq!(fresh.model.as_ref().unwrap().version, 1);

    let published = "{ kind: published, name: base }";
    let further = job(SHORT_JOB, &[(MODEL, published), ("rounds: 4", publish)]);
    let further = scene.train(&further).await;
    assert_eq!(
        further.state(),
        v1::RunState::Completed,
        "{}",
        further.reason
    );
    assert_eq!(further.model.as_ref().unwrap().version, 2);
    let fresh = accuracies(&scene.client.rounds(&fresh.run).await.unwrap());
    let further = accuracies(&scene.client.rounds(&further.run).await.unwrap());
    assert!(further[0] > fresh[1], "{further:?} after {fresh:?}");

    let first = job(
        SHORT_JOB,
        &[
            (MODEL, "{ kind: published, name: base, version: 1 }"),
            ("rounds: 4", publish),
        ],
    );
    let again = scene.train(&first).await;
    assert_eq!(again.model.as_ref().unwrap().version, 3);
    let again = accuracies(&scene.client.rounds(&again.run).await.unwrap());
    assert_eq!(again, further, "the first version is what it was");

    let versions = scene.client.models(Some("base")).await.unwrap();
    let versions: Vec<u32> = versions.iter().map(|model| model.version).collect();
    assert_eq!(versions, [3, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_model_optimizer_and_partition_trains() {
    let scene = Scene::with_digits(2).await;
    let changes = [
        (MODEL, "{ kind: softmax_regression }"),
        (MODEL, "{ kind: mlp, hidden: [16, 16], activation: gelu }"),
        (OPTIMIZER, "{ kind: adamw, learning_rate: 0.01 }"),
        (PARTITION, "{ kind: iid, clients: 4 }"),
        (
            PARTITION,
            "{ kind: labels_per_client, labels: 5, clients: 4 }",
        ),
        (PARTITION, "{ kind: quantity_skew, alpha: 1.0, clients: 4 }"),
        ("epochs: 1", "steps: 20"),
    ];
    let mut runs = Vec::new();
    for change in changes {
        runs.push((change.1, scene.submit(&job(SHORT_JOB, &[change])).await));
    }
    for (what, run) in runs {
        let run = scene.completed(&run).await;
        let accuracy = run.accuracy.unwrap();
        assert!(accuracy > 0.6, "{what}: {accuracy}");
        let rounds = scene.client.rounds(&run.run).await.unwrap();
        let steps = rounds[0].updates.iter().map(|update| update.num_steps);
        assert_eq!(
            steps.into_iter().all(|steps| steps == 20),
            what == "steps: 20"
        );
    }
}
