//! What every process answers to those who run it.

use std::net::SocketAddr;

use client::Address;
use futures::stream;
use proto::transport;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

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

async fn shows(service: &Service, name: &str, metric: &str) {
    let (head, body) = service.get("/health").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (&health["status"], &health["service"]),
        (&"ok".into(), &name.into())
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
    let services = ["Blobs", "Datasets", "Jobs", "Models", "Tasks", "Workers"];
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
    let mut client = ServerReflectionClient::new(channel);
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
}
