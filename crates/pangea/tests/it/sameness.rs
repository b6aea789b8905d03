//! The same job and the same seed give the same bytes; a key gives the same run.

use client::{ClientError, random_key};

use crate::scene::{DIGITS_JOB, SHORT_JOB, Scene, job};

async fn digest(workers: usize, changes: &[(&str, &str)]) -> String {
    let scene = Scene::with_digits(workers).await;
    let changes = [&[("rounds: 20", "rounds: 4")], changes].concat();
    scene.undisturbed(&job(DIGITS_JOB, &changes)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_job_gives_the_same_digest_with_1_2_and_5_workers() {
    let alone = digest(1, &[]);
    let two = digest(2, &[]);
    let five = digest(5, &[]);
    let (alone, two, five) = tokio::join!(alone, two, five);
    assert_eq!(alone, two);
    assert_eq!(alone, five);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_seed_gives_another_digest() {
    let (seven, eight) = tokio::join!(digest(2, &[]), digest(2, &[("seed: 7", "seed: 8")]));
    assert_ne!(seven, eight);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_run_and_none_to_another_job() {
    let scene = Scene::with_digits(1).await;
    let (client, key) = (&scene.client, random_key());
    let job_of = |rounds| job(SHORT_JOB, &[("rounds: 4", rounds)]);
    let first = client
        .submit(&job_of("rounds: 2"), key.clone())
        .await
        .unwrap();
    assert!(!first.existed);
    let again = client
        .submit(&job_of("rounds: 2"), key.clone())
        .await
        .unwrap();
    assert!(again.existed);
    assert_eq!(again.run.run, first.run.run);

    let other = client
        .submit(&job_of("rounds: 3"), key.clone())
        .await
        .unwrap_err();
    let told = format!(
        "idempotency key {key:?} belongs to run {}, whose job is another one; choose a new key \
         (IDEMPOTENCY_KEY_TAKEN)",
        first.run.run
    );
    assert_eq!(other.to_string(), told);
    let ClientError::Refused { code, .. } = other else {
        panic!("{other:?}");
    };
    assert_eq!(i32::from(code), 6, "ALREADY_EXISTS");

    scene.completed(&first.run.run).await;
    let late = client.submit(&job_of("rounds: 2"), key).await.unwrap();
    assert!(late.existed, "a key outlives its run");
    assert_eq!(client.runs().await.unwrap().len(), 1);
}
