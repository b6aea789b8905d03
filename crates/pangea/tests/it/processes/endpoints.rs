//! What every process answers to those who run it.

use std::net::SocketAddr;

use client::Address;
use futures::stream;
use proto::transport;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha;

use super::fleet::{Fleet, Shape};
use super::service::{PATIENCE, Service};

#[tokio::test(flavor = "multi_thread")]
async fn every_process_shows_its_health_readiness_and_metrics() {
    let fleet = Fleet::start(Shape::default()).await;
    fleet
        .until_listed(|worker| worker.worker == "worker-1")
        .await;
    let worker = &fleet.workers[0];
    worker.until_logged("connected to the orchestrator").await;
    for (service, name, metric) in [
        (
            &fleet.orchestrator,
            "pangea-orchestrator",
            "collab_active_sessions",
        ),
        (
            &fleet.compute,
            "pangea-compute-core",
            "pangea_compute_cache_bytes",
        ),
        (
            worker,
            "pangea-training-worker",
            "pangea_worker_tasks_running",
        ),
    ] {
        shows(service, name, metric).await;
    }
}

/// What the service called `name` depends on.
fn dependencies(name: &str) -> &'static [&'static str] {
    match name {
        "pangea-orchestrator" => &["artifacts", "compute", "queue", "store"],
        "pangea-compute-core" => &["engine"],
        _ => &["compute", "orchestrator"],
    }
}

async fn shows(service: &Service, name: &str, metric: &str) {
    let (head, body) = service.get("/health").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let connected: serde_json::Map<_, _> = dependencies(name)
        .iter()
        .map(|name| ((*name).to_owned(), "connected".into()))
        .collect();
    assert_eq!(
        (&health["status"], &health["service"], &health["services"]),
        (&"healthy".into(), &name.into(), &connected.into())
    );

    let (head, body) = service.get("/ready").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");

    let (head, body) = service.get("/metrics").await;
    let head = head.to_lowercase();
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains(&format!("# HELP {metric} ")), "{body}");
    assert!(
        body.contains("# HELP process_resident_memory_bytes "),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_port_for_calls_tells_its_health_and_its_services() {
    let fleet = Fleet::start(Shape {
        workers: 0,
        ..Shape::default()
    })
    .await;
    let orchestrator = fleet.orchestrator.grpc();
    let services = [
        "Blobs", "Datasets", "Jobs", "Models", "Storage", "Tasks", "Workers",
    ];
    tells(
        orchestrator,
        &services.map(|name| format!("pangea.v1.{name}")),
    )
    .await;
    tells(fleet.compute.grpc(), &["pangea.v1.Compute".to_owned()]).await;
}

async fn tells(grpc: SocketAddr, services: &[String]) {
    let channel = transport::channel(&Address::Tcp(grpc.to_string()));
    for service in [String::new()].iter().chain(services) {
        let request = HealthCheckRequest {
            service: service.clone(),
        };
        let answer = HealthClient::new(channel.clone()).check(request).await;
        let answer = answer.unwrap_or_else(|status| panic!("{service:?}: {status}"));
        assert_eq!(
            answer.into_inner().status(),
            ServingStatus::Serving,
            "{service:?}"
        );
    }

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let asked = client.server_reflection_info(stream::iter([request]));
    let answers = tokio::time::timeout(PATIENCE, asked)
        .await
        .expect("an answer in time");
    let answer = answers.expect("an answer").into_inner().message().await;
    let answer = answer
        .expect("an answer")
        .expect("an answer")
        .message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else {
        panic!("{answer:?}");
    };
    let listed: Vec<String> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        services.iter().all(|service| listed.contains(service)),
        "{listed:?}"
    );
    assert!(
        listed.contains(&"grpc.health.v1.Health".to_owned()),
        "{listed:?}"
    );
    reflects_in_the_old_form(channel).await;
}

/// Tools of a few years ago know no other.
async fn reflects_in_the_old_form(channel: transport::Outgoing) {
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let asked = client.server_reflection_info(stream::iter([request]));
    let answers = timeout(PATIENCE, asked).await.expect("an answer in time");
    let answer = answers.expect("an answer").into_inner().message().await;
    let answer = answer.expect("an answer").expect("an answer");
    let listed = format!("{:?}", answer.message_response);
    assert!(listed.contains("pangea.v1."), "{listed}");
}
