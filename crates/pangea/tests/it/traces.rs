//! One trace leads from the submission of a job to its model, through every service, in one process
//! as between several; and what a service says carries its ids.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use client::Client;
use pangea::house::{self, House};
use telemetry::config::environment::Environment;
use telemetry::export::sink::{Received, SeenSpan, Sink};

use crate::processes::fleet::{Fleet, Shape};
use crate::processes::service::Service;
use crate::scene::{A_MINUTE, DIGITS, DIGITS_JOB, SHORT_JOB, digits_options, job, plan, within};

const ORCHESTRATOR: &str = "pangea-orchestrator";
const WORKER: &str = "pangea-training-worker";
const COMPUTE: &str = "pangea-compute-core";

/// Who causes what in another service, or in the same one across a queue or a stream: the span, its
/// service, its parent and that one's service.
const HANDOVERS: [(&str, &str, &str, &str); 4] = [
    ("task", WORKER, "dispatch", ORCHESTRATOR),
    ("pangea.v1.Compute/Train", COMPUTE, "train", WORKER),
    ("accept update", ORCHESTRATOR, "report", WORKER),
    (
        "pangea.v1.Compute/Evaluate",
        COMPUTE,
        "evaluate",
        ORCHESTRATOR,
    ),
];

/// What belongs to the way of a job, besides.
const ON_THE_WAY: [&str; 8] = [
    "store updates",
    "pangea.v1.Jobs/Submit",
    "round",
    "aggregate",
    "checkpoint",
    "publish",
    "training",
    "training_step",
];

/// The environment of someone who watches everything.
fn watched(sink: &Sink) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on".to_owned()),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100000".to_owned()),
    ]
}

fn published() -> client::JobSpec {
    job(SHORT_JOB, &[("seed: 7", "seed: 7\npublish_as: traced")])
}

/// Imports the digits, trains, and says the run.
async fn train(client: &Client, job: &client::JobSpec) -> String {
    let options = digits_options();
    let imported = client.import_dataset(Path::new(DIGITS), &options);
    within(A_MINUTE, imported).await.expect("a data set");
    let submitted = client.submit(job, client::random_key()).await;
    let run = submitted.expect("a run").run.run;
    let events = client.watch(&run, 0, client::Patience::default());
    within(A_MINUTE, futures::StreamExt::count(events)).await;
    let ended = client.run(&run).await.expect("a run");
    assert_eq!(
        ended.state(),
        client::v1::RunState::Completed,
        "{}",
        ended.reason
    );
    run
}

/// The spans of the trace that began with the submission.
fn of_the_job(received: &Received) -> Vec<&SeenSpan> {
    let mut submissions = received
        .spans
        .iter()
        .filter(|span| span.name == "pangea.v1.Jobs/Submit");
    let submission = submissions.next().expect("a submission");
    assert_eq!(
        (submissions.next(), submission.parent.as_deref()),
        (None, None)
    );
    let spans = received.spans.iter();
    spans
        .filter(|span| span.trace == submission.trace)
        .collect()
}

fn check_the_way(received: &Received) {
    let spans = of_the_job(received);
    let by_id: BTreeMap<_, _> = spans
        .iter()
        .map(|span| (span.span.as_str(), *span))
        .collect();
    let services: BTreeSet<_> = spans.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from([ORCHESTRATOR, WORKER, COMPUTE]));
    for name in ON_THE_WAY {
        assert!(spans.iter().any(|span| span.name == name), "no {name}");
    }
    for (name, service, parent, parents_service) in HANDOVERS {
        let such: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert!(!such.is_empty(), "no {name}");
        for span in such {
            let id = span.parent.as_deref().unwrap_or_default();
            let cause = by_id
                .get(id)
                .unwrap_or_else(|| panic!("{name} has no cause"));
            let handover = (cause.name.as_str(), cause.service.as_str());
            assert_eq!(handover, (parent, parents_service), "the cause of {name}");
            assert!(span.parent_is_remote && span.service == service, "{span:?}");
        }
    }
    for span in &spans {
        let parent = span.parent.as_deref().map(|id| by_id.get(id));
        assert_ne!(parent, Some(None), "the cause of {span:?} was lost");
        // Between services, only what was told counts.
        if let Some(Some(parent)) = parent {
            let remote = parent.service != span.service;
            assert!(!remote || span.parent_is_remote, "{span:?} was overheard");
        }
    }
    // What goes on all the time would bury the traces of jobs.
    let leases = received
        .spans
        .iter()
        .filter(|span| span.name.ends_with("/Lease"));
    assert_eq!(leases.count(), 0);
}

fn check_the_logs(received: &Received, run: &str) {
    let about = |log: &&telemetry::export::sink::SeenLog| {
        log.attributes.get("run").is_some_and(|own| own == run)
    };
    let logs: Vec<_> = received.logs.iter().filter(about).collect();
    assert!(!logs.is_empty(), "nothing was said about the run");
    let traces: BTreeSet<_> = of_the_job(received)
        .iter()
        .map(|span| span.trace.clone())
        .collect();
    for log in logs {
        let place = log
            .place
            .as_ref()
            .unwrap_or_else(|| panic!("no place: {log:?}"));
        assert!(traces.contains(&place.0), "{log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_through_a_house_in_one_process() {
    let sink = Sink::start().expect("a sink");
    let environment: BTreeMap<_, _> = watched(&sink).into_iter().collect();
    let environment = Environment::read(|name| environment.get(name).cloned());
    let dir = tempfile::tempdir().expect("a folder");
    let host = house::host(environment).expect("metrics");
    let house = House::start(plan(dir.path(), 2), host);
    let house = within(A_MINUTE, house).await.expect("a house");
    let client = Client::connect(&house.address());
    train(&client, &published()).await;
    within(A_MINUTE, house.stop()).await;
    check_the_way(&sink.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_through_separate_processes() {
    let sink = Sink::start().expect("a sink");
    let mut fleet = Fleet::start_in(Shape::default(), watched(&sink)).await;
    let run = train(&fleet.client(), &published()).await;
    fleet.end().await;
    let received = sink.received();
    check_the_way(&received);
    check_the_logs(&received, &run);
}

/// The lines of all services about a round, at info and above.
fn lines_about(fleet: &Fleet, round: u64) -> Vec<String> {
    let services = fleet
        .workers
        .iter()
        .chain([&fleet.orchestrator, &fleet.compute]);
    let logs: Vec<_> = services.map(Service::log).collect();
    let lines = logs.iter().flat_map(|log| log.lines());
    let about = lines.filter(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        line["round"] == round
    });
    about.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_eight_clients_is_a_dozen_lines_at_most() {
    let mut fleet = Fleet::start(Shape::default()).await;
    let job = job(DIGITS_JOB, &[("rounds: 20", "rounds: 3")]);
    assert_eq!(job.partition.clients.get(), 8);
    train(&fleet.client(), &job).await;
    fleet.end().await;
    let lines = lines_about(&fleet, 2);
    assert!((1..=12).contains(&lines.len()), "{lines:#?}");
    let committed: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &serde_json::Value| line["service"] == ORCHESTRATOR)
        .collect();
    for key in [
        "timestamp",
        "level",
        "logger",
        "module",
        "message",
        "function",
        "line",
        "service",
    ] {
        assert!(
            !committed[0][key].is_null(),
            "{key} is missing: {}",
            committed[0]
        );
    }
    for key in ["trace_id", "span_id", "run", "loss", "accuracy", "duration"] {
        assert!(
            !committed[0][key].is_null(),
            "{key} is missing: {}",
            committed[0]
        );
    }
    let first = fleet.orchestrator.log();
    let first = first.lines().next().expect("a line");
    assert!(
        first.contains("telemetry begins") && first.contains("\"otlp\":\"off\""),
        "{first}"
    );
}
