//! Bad input: each says what is wrong, where, and what would be right; and changes nothing.

use client::{Client, ClientError, JobSpec, random_key, v1};
use proto::fault::reason;
use proto::transport::channel;
use proto::v1::datasets_client::DatasetsClient;
use proto::v1::jobs_client::JobsClient;
use proto::v1::models_client::ModelsClient;

use crate::scene::{SHORT_JOB, Scene, changed, digits_options, job};
use crate::shell::pangea;

/// What there is, for a look before and after.
async fn inventory(client: &Client) -> (Vec<v1::Run>, Vec<v1::Dataset>, Vec<v1::PublishedModel>) {
    let runs = client.runs().await.expect("runs");
    let datasets = client.datasets().await.expect("data sets");
    (runs, datasets, client.models(None).await.expect("models"))
}

/// What submitting the short job with these changes in a file comes to.
async fn submit_file(scene: &Scene, changes: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.yaml");
    std::fs::write(&file, changed(SHORT_JOB, changes)).expect("a job file");
    let file = file.to_str().expect("a path of text");
    let told = pangea(&["submit", file, "--server", &scene.server()]).await;
    told.refusal().replace(file, "job.yaml")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_job_file_is_told_with_its_line_and_field_and_starts_no_run() {
    let scene = Scene::with_digits(1).await;
    let before = inventory(&scene.client).await;
    for (change, told) in [
        (
            ("epochs: 1", "epochs: 1\n  bach_size: 32"),
            "error: job.yaml:8: local.bach_size: unknown key; expected one of `epochs`, `steps`, \
             `batch_size`, `optimizer`, `schedule`, `clip_norm`\n",
        ),
        (
            ("rounds: 4", "rounds: four"),
            "error: job.yaml:9: rounds: invalid type: string \"four\", expected a whole number \
             from 0 to 2^32-1\n",
        ),
        (
            ("rounds: 4", "rounds: 4\ncohort: { fraction: 1.7 }"),
            "error: job.yaml: cohort.fraction: is 1.7; must be above 0 and at most 1\n",
        ),
        (
            ("learning_rate: 0.05", "learning_rate: -1"),
            "error: job.yaml: local.optimizer.learning_rate: is -1.0; must be a finite number \
             above 0\n",
        ),
        (
            ("name: digits", "name: cats"),
            "error: dataset.name: \"cats\" does not exist; there are digits (INVALID_JOB)\n",
        ),
        (
            ("clients: 4", "clients: 1439"),
            "error: dataset.partition.clients: is 1439; the data set has only 1438 training rows, \
             and each client needs one (INVALID_JOB)\n",
        ),
        (
            (
                "{ kind: mlp, hidden: [16], activation: relu }",
                "{ kind: published, name: cats }",
            ),
            "error: model.name: cats is not published; `pangea models` lists what is \
             (INVALID_JOB)\n",
        ),
    ] {
        assert_eq!(submit_file(&scene, &[change]).await, told);
    }
    assert_eq!(inventory(&scene.client).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_table_is_told_with_its_line_and_column_and_registers_nothing() {
    let scene = Scene::with_digits(1).await;
    let before = inventory(&scene.client).await;
    let files = std::fs::read_dir(scene.artifact("datasets"))
        .unwrap()
        .count();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cats.csv");
    for (text, told) in [
        (
            "a,b\n1,2\n",
            "cats.csv: the header lacks \"label\"; its columns are \"a\", \"b\"",
        ),
        (
            "a,label\n1,x\ntwo,y\n",
            "cats.csv: line 3, column \"a\": \"two\" is not a number",
        ),
        (
            "a,label\n1,x\n2\n",
            "cats.csv: line 3 has 1 field; the header has 2",
        ),
        (
            "",
            "cats.csv: the file is empty; a header line and rows are expected",
        ),
        ("a,label\n", "cats.csv: the file has a header but no rows"),
        (
            "a,label\n1,x\n2,y\nNaN,x\n",
            "cats.csv: line 4, column \"a\": \"NaN\" is not a finite number of 32 bits",
        ),
        (
            "a,label\n1,x\n2,x\n",
            "cats.csv: label column \"label\" holds only \"x\"; at least 2 classes are needed",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let import = [
            "dataset",
            "import",
            file,
            "--label",
            "label",
            "--server",
            &scene.server(),
        ];
        let refusal = pangea(&import).await.refusal();
        assert_eq!(refusal, format!("error: {told} (INVALID_TABLE)\n"));
    }
    assert_eq!(inventory(&scene.client).await, before);
    let after = std::fs::read_dir(scene.artifact("datasets"))
        .unwrap()
        .count();
    assert_eq!(after, files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_other_data_has_is_kept_unless_it_is_to_be_replaced() {
    let scene = Scene::with_digits(1).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("digits.csv");
    std::fs::write(&file, "a,label\n1,x\n2,y\n3,x\n4,y\n5,x\n").unwrap();
    let mut options = digits_options();
    let known = scene.client.dataset("digits", None).await.unwrap().0;
    let refusal = scene
        .client
        .import_dataset(&file, &options)
        .await
        .unwrap_err();
    let told = format!(
        "there is another data set named \"digits\" ({}); choose another name, or replace it with \
         --replace (DATASET_EXISTS)",
        known.digest
    );
    assert_eq!(refusal.to_string(), told);
    assert_eq!(scene.client.datasets().await.unwrap(), [known]);
    options.replace = true;
    let replaced = scene.client.import_dataset(&file, &options).await.unwrap();
    assert_eq!(scene.client.datasets().await.unwrap(), [replaced]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_call_carries_its_reason_for_programs() {
    let scene = Scene::with_digits(1).await;
    let channel = channel(&scene.house.address());
    let mut jobs = JobsClient::new(channel.clone());
    let mut datasets = DatasetsClient::new(channel.clone());
    let mut models = ModelsClient::new(channel);
    let unknown = "0199f0c2-0000-7cc0-8000-2f5d9a1b3c4d".to_owned();

    let status = jobs
        .get(v1::GetRunRequest {
            run: unknown.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("RUN_NOT_FOUND"));
    assert_eq!(
        status.message(),
        format!("run {unknown} does not exist; `pangea runs` lists the runs there are")
    );
    let status = jobs
        .get(v1::GetRunRequest {
            run: "seven".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("INVALID_MESSAGE"));
    let status = jobs.submit(v1::SubmitRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("INVALID_MESSAGE"));
    assert_eq!(status.message(), "job: is missing");
    let watch = v1::WatchRequest {
        run: unknown.clone(),
        cursor: 0,
    };
    let status = jobs.watch(watch).await.unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("RUN_NOT_FOUND"));
    let page_token = "not a page".to_owned();
    let list = v1::ListRunsRequest {
        page_size: 1,
        page_token,
    };
    let status = jobs.list(list).await.unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("INVALID_MESSAGE"));

    let show = v1::ShowDatasetRequest {
        name: "cats".into(),
        partition: None,
    };
    let status = datasets.show(show).await.unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("DATASET_NOT_FOUND"));
    assert_eq!(
        status.message(),
        "dataset cats does not exist; `pangea dataset list` lists those there are"
    );
    let get = v1::GetModelRequest {
        name: "cats".into(),
        version: Some(2),
    };
    let status = models.get(get.clone()).await.unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("MODEL_NOT_FOUND"));
    assert_eq!(
        status.message(),
        "model cats@2 does not exist; `pangea models` lists those there are"
    );
    let status = models.download(get).await.unwrap_err();
    assert_eq!(reason(&status).as_deref(), Some("MODEL_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_run_here_is_refused_by_submit_and_validate_alike() {
    let scene = Scene::with_digits(1).await;
    let cats = job(SHORT_JOB, &[("name: digits", "name: cats")]);
    let submitted = refused(scene.client.submit(&cats, random_key()).await);
    assert_eq!(submitted, refused(scene.client.validate(&cats).await));
    let key = refused(scene.client.submit(&short(), "k".repeat(201)).await);
    assert_eq!(
        key,
        "idempotency_key: idempotency key has 201 characters; must have 1 to 200 (INVALID_MESSAGE)"
    );
    assert!(scene.client.runs().await.unwrap().is_empty());
}

fn short() -> JobSpec {
    job(SHORT_JOB, &[])
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    answer.expect_err("a refusal").to_string()
}
