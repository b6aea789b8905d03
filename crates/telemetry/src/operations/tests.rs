use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::health::Check;

/// How long something that is bound to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An orchestrator that needs a store, and gets help from a compute-core.
struct Running {
    address: SocketAddr,
    answering: Answering,
    draining: CancellationToken,
    store: Arc<AtomicBool>,
    compute: Arc<AtomicBool>,
}

async fn start(metrics: MetricsEndpoint) -> Running {
    let (store, compute) = (Arc::new(AtomicBool::new(true)), Arc::default());
    let probe = |there: &Arc<AtomicBool>| {
        let there = Arc::clone(there);
        move || {
            let is_there = there.load(Ordering::Relaxed);
            std::future::ready(is_there.then_some(()).ok_or("gone"))
        }
    };
    let checks = vec![
        Check::needed("store", probe(&store)),
        Check::helpful("compute", probe(&compute)),
    ];
    let draining = CancellationToken::new();
    let operations = Operations {
        service: "orchestrator",
        health: Health::new(checks, draining.clone()),
        telemetry: Telemetry {
            metrics_endpoint: metrics,
            ..Telemetry::quiet("orchestrator").unwrap()
        },
        also_counted: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Running {
        address: listener.local_addr().unwrap(),
        answering: super::start(listener, operations).await.unwrap(),
        draining,
        store,
        compute,
    }
}

/// The status line and headers, and the body.
async fn ask(address: SocketAddr, path: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer));
    read.await.expect("in time").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The code, and the body.
async fn told(address: SocketAddr, path: &str) -> (u16, Value) {
    let (head, body) = ask(address, path, "").await;
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn health_tells_who_is_there_and_who_is_not() {
    let running = start(MetricsEndpoint::Here).await;
    running.compute.store(true, Ordering::Relaxed);
    let (code, mut body) = told(running.address, "/health").await;
    assert_eq!(code, 200);
    assert!(body["uptime"].take().is_u64());
    let timestamp = body["timestamp"].take();
    humantime::parse_rfc3339(timestamp.as_str().unwrap()).unwrap();
    let expected = json!({
        "status": "healthy",
        "timestamp": null,
        "version": VERSION,
        "uptime": null,
        "service": "orchestrator",
        "services": {"store": "connected", "compute": "connected"},
    });
    assert_eq!(body, expected);

    let running = start(MetricsEndpoint::Here).await;
    let (code, body) = told(running.address, "/health").await;
    assert_eq!((code, &body["status"]), (503, &json!("unhealthy")));
    let services = json!({"store": "connected", "compute": "disconnected"});
    assert_eq!(body["services"], services);
    assert_eq!(told(running.address, "/health/live").await.0, 200);
}

#[tokio::test]
async fn a_service_is_ready_with_what_it_needs() {
    let running = start(MetricsEndpoint::Here).await;
    let ready = json!({"status": "ready", "failing": []});
    assert_eq!(told(running.address, "/ready").await, (200, ready));

    let running = start(MetricsEndpoint::Here).await;
    running.store.store(false, Ordering::Relaxed);
    let failing = json!({"status": "not_ready", "failing": ["store"]});
    assert_eq!(told(running.address, "/ready").await, (503, failing));
    assert_eq!(told(running.address, "/health/live").await.0, 200);
}

#[tokio::test]
async fn a_service_that_drains_says_so_at_once_and_goes_on_answering() {
    let running = start(MetricsEndpoint::Here).await;
    assert_eq!(told(running.address, "/ready").await.0, 200);
    running.draining.cancel();
    let draining = json!({"status": "draining", "failing": []});
    assert_eq!(told(running.address, "/ready").await, (503, draining));
    assert_eq!(told(running.address, "/health/live").await.0, 200);
}

#[tokio::test]
async fn metrics_are_in_the_format_that_the_reader_asks_for() {
    let running = start(MetricsEndpoint::Here).await;
    let accept = "accept: application/openmetrics-text; version=1.0.0\r\n";
    for (header, format) in [("", Format::Text), (accept, Format::OpenMetrics)] {
        let (head, body) = ask(running.address, "/metrics", header).await;
        let content_type = format!("content-type: {}", format.content_type());
        assert!(head.lines().any(|line| line == content_type), "{head}");
        assert!(body.contains("pangea_build_info{"), "{body}");
    }
}

#[tokio::test]
async fn metrics_can_have_a_port_of_their_own_or_none() {
    let running = start(MetricsEndpoint::Port(0)).await;
    let own = running.answering.metrics.unwrap();
    let (head, body) = ask(own, "/metrics", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains("pangea_build_info{"), "{body}");
    let (head, body) = ask(running.address, "/metrics", "").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(body.contains("PROMETHEUS_PORT"), "{body}");
    let (head, _) = ask(own, "/health", "").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");

    let running = start(MetricsEndpoint::Off).await;
    assert_eq!(running.answering.metrics, None);
    let (head, body) = ask(running.address, "/metrics", "").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(body.contains("PROMETHEUS_ENABLED is false"), "{body}");
}

#[tokio::test]
async fn a_taken_port_for_metrics_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let operations = Operations {
        service: "orchestrator",
        health: Health::new(Vec::new(), CancellationToken::new()),
        telemetry: Telemetry {
            metrics_endpoint: MetricsEndpoint::Port(port),
            ..Telemetry::quiet("orchestrator").unwrap()
        },
        also_counted: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = super::start(listener, operations).await.unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("PROMETHEUS_PORT") && told.contains(&port.to_string()),
        "{told}"
    );
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let running = start(MetricsEndpoint::Here).await;
    let (head, _) = ask(running.address, "/", "").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[tokio::test]
async fn a_stop_ends_the_server_though_a_client_says_nothing() {
    let running = start(MetricsEndpoint::Here).await;
    let silent = TcpStream::connect(running.address).await.unwrap();
    told(running.address, "/health/live").await;
    let stopped = timeout(PATIENCE, running.answering.stop());
    stopped.await.expect("in time");
    assert!(TcpStream::connect(running.address).await.is_err());
    drop(silent);
}
