//! A house on S3, SQS and PostgreSQL: the same models as in one process, and a second orchestrator
//! that takes over.

use std::fs;
use std::process::Command;

use super::fleet::{Fleet, Shape, free_port};
use super::outages::dead_address;
use super::service::{Kind, Service, Setting, get, until_logged};
use super::training::{ROUNDS, Training, undisturbed};
use client::{Address, Client};

/// A lease that a test can wait for.
const LEASE: &str = "1s";

/// A bucket, a queue and a database of one test's own.
struct Backends {
    endpoint: String,
    postgres: String,
    name: String,
}

impl Backends {
    /// Those that run; none, with a note, where they do not.
    fn of(test: &str) -> Option<Self> {
        let endpoint = test_tools::localstack(test)?;
        let maintenance = test_tools::postgres(test)?;
        let name = format!("pangea-{}", client::random_key());
        let created = Command::new("psql")
            .args(["--quiet", &maintenance, "--command"])
            .arg(format!("CREATE DATABASE \"{name}\""))
            .status();
        assert!(created.expect("psql runs").success());
        let (server, _) = maintenance.rsplit_once('/').expect("a database");
        Some(Self {
            postgres: format!("{server}/{name}"),
            endpoint,
            name,
        })
    }

    /// What tells an orchestrator of them. Other services need not know.
    fn settings(&self) -> Vec<Setting> {
        let text = str::to_owned;
        vec![
            ("STORE__URL", self.postgres.clone()),
            ("STORE__LEASE", text(LEASE)),
            ("ARTIFACTS__BUCKET", self.name.clone()),
            ("ARTIFACTS__PATH_STYLE", text("true")),
            ("ARTIFACTS__CREATE", text("true")),
            ("QUEUE__NAME", self.name.clone()),
            ("QUEUE__CREATE", text("true")),
            ("AWS__ENDPOINT", self.endpoint.clone()),
            ("AWS__REGION", text("eu-west-2")),
            ("AWS_ACCESS_KEY_ID", text("test")),
            ("AWS_SECRET_ACCESS_KEY", text("test")),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_on_real_backends_makes_the_same_model() {
    let test = "a_house_on_real_backends_makes_the_same_model";
    let Some(backends) = Backends::of(test) else {
        return;
    };
    let mut fleet = Fleet::start_on(Shape::default(), backends.settings()).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    training.until_committed(2).await;
    fleet.orchestrator.kill().await;
    fleet.orchestrator.start_again().await;
    assert_eq!(training.finish().await, *undisturbed().await);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_stands_by_takes_over_from_one_that_dies() {
    let test = "an_orchestrator_that_stands_by_takes_over_from_one_that_dies";
    let Some(backends) = Backends::of(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let compute = vec![("GRPC__LISTEN", free_port()), ("HTTP__LISTEN", free_port())];
    let compute = Service::start(Kind::ComputeCore, compute, path("compute.log")).await;
    let ports = [dead_address(), dead_address()];
    let operators = [dead_address(), dead_address()];
    let orchestrators = format!("{},{}", ports[0], ports[1]);
    let start = |number: usize| {
        let mut settings = vec![
            ("GRPC__LISTEN", ports[number].clone()),
            ("HTTP__LISTEN", operators[number].clone()),
            ("COMPUTE", compute.grpc().to_string()),
            (
                "DATA_DIR",
                path(&format!("data-{number}")).display().to_string(),
            ),
        ];
        settings.extend(backends.settings());
        let log = path(&format!("orchestrator-{number}.log"));
        (settings, log)
    };
    let (settings, log) = start(0);
    let mut first = Service::start(Kind::Orchestrator, settings, log).await;
    let (settings, log) = start(1);
    let file = fs::File::create(&log).unwrap();
    let mut second = Kind::Orchestrator.command(&settings);
    let _second = second.stdout(file).spawn().unwrap();
    until_logged(&log, "this one stands by").await;
    let (head, told) = get(operators[1].parse().unwrap(), "/ready").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(told.contains("leader"), "{told}");
    let mut workers = Vec::new();
    for number in 1..=2 {
        let settings = vec![
            ("ID", format!("worker-{number}")),
            ("ORCHESTRATOR", orchestrators.clone()),
            ("COMPUTE", compute.grpc().to_string()),
            ("HTTP__LISTEN", free_port()),
            ("LEASE__TTL", "1s".to_owned()),
        ];
        let log = path(&format!("worker-{number}.log"));
        workers.push(Service::start(Kind::TrainingWorker, settings, log).await);
    }
    let address: Address = orchestrators.parse().unwrap();
    let mut training = Training::begin(Client::connect(&address), ROUNDS).await;
    training.until_committed(3).await;
    first.kill().await;
    assert_eq!(training.finish().await, *undisturbed().await);
    until_logged(&log, "orchestrator answers").await;
}
