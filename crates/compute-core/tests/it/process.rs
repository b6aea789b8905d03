//! compute-core as a process: what it shows of its calls, and how it ends.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use clock::SystemClock;
use compute_core::{ComputeCore, Config, Wiring};
use proto::engine::Engine;
use proto::transport::{Address, Pipe, channel};
use proto::v1::compute_server::SERVICE_NAME;
use telemetry::export::Outbox;
use telemetry::metrics::{IntCounter, Registry, exposition};
use telemetry::trace::{Sampler, SpanId, SpanRecord, TraceContext, TraceId, Traced, Tracer};
use telemetry::{Telemetry, rpc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long something that is bound to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    core: ComputeCore,
    address: Address,
    registry: Registry,
    spans: Arc<Outbox<SpanRecord>>,
}

async fn start() -> Running {
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let spans = Arc::new(Outbox::new(100, 100, dropped));
    let mut telemetry = Telemetry::quiet("compute-core").unwrap();
    telemetry.tracer = Tracer::new("compute-core", Sampler::none(), Some(Arc::clone(&spans)));
    let registry = telemetry.registry.clone();
    let pipe = Pipe::default();
    let mut config = Config::default();
    config.grpc.listen.set_port(0);
    config.http.listen.set_port(0);
    let wiring = Wiring {
        telemetry,
        pipe: Some(pipe.listen()),
        clock: Arc::new(SystemClock::default()),
        seams: seams::Seams::default(),
    };
    Running {
        core: ComputeCore::start(config, wiring).await.unwrap(),
        address: Address::Pipe(pipe),
        registry,
        spans,
    }
}

async fn ask(running: &Running, path: &str) -> String {
    let mut stream = TcpStream::connect(running.core.http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer));
    read.await.expect("in time").unwrap();
    answer
}

#[tokio::test]
async fn a_call_is_counted_and_part_of_its_callers_trace() {
    let running = start().await;
    let engine = Engine::over(channel(&running.address).stamped(rpc::stamp));
    let caller = TraceContext {
        trace: TraceId::random(),
        span: SpanId::random(),
        sampled: true,
        state: None,
    };
    // What is kept is the callee's; the caller only passes on where it is.
    let worker = Tracer::new("worker", Sampler::all(), None);
    let span = worker.consume("task", Some(&caller));
    engine.describe().in_span(span).await.unwrap();

    let [span] = running.spans.take().try_into().unwrap();
    assert_eq!(span.name, "pangea.v1.Compute/Describe");
    assert_eq!(
        (span.context.trace, span.parent),
        (caller.trace, Some(caller.span))
    );
    let text = exposition::text(&running.registry.snapshot()).unwrap();
    let labels = "code=\"ok\",method=\"Describe\",service=\"pangea.v1.Compute\"";
    assert!(
        text.contains(&format!("rpc_requests_total{{{labels}}} 1")),
        "{text}"
    );
}

#[tokio::test]
async fn requests_of_operators_count_under_both_names() {
    let running = start().await;
    assert!(ask(&running, "/ready").await.starts_with("HTTP/1.1 200"));
    let metrics = ask(&running, "/metrics").await;
    let labels = "{endpoint=\"/ready\",method=\"GET\",status=\"200\"} 1";
    for name in [
        "http_requests_total",
        "pangea_rust_compute_http_requests_total",
    ] {
        assert!(
            metrics.contains(&format!("\n{name}{labels}")),
            "{name}: {metrics}"
        );
    }
}

#[tokio::test]
async fn who_watches_is_told_when_it_drains() {
    let running = start().await;
    let mut client = HealthClient::new(channel(&running.address));
    let request = HealthCheckRequest {
        service: SERVICE_NAME.to_owned(),
    };
    let mut statuses = client.watch(request).await.unwrap().into_inner();
    let first = statuses.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let stopped = tokio::spawn(running.core.stop(Box::pin(pending())));
    let next = timeout(PATIENCE, statuses.message())
        .await
        .expect("in time");
    assert_eq!(next.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop((statuses, client));
    timeout(PATIENCE, stopped).await.expect("in time").unwrap();
}
