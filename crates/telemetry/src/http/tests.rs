use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::routing::get;
use futures::{StreamExt, stream};
use prometheus::{IntCounter, Opts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::ServiceExt;

use super::*;
use crate::export::Outbox;
use crate::metrics::exposition;
use crate::trace::{Sampler, Tracer};

/// How long something that is bound to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn counted() -> Counted {
    Counted::new(&Telemetry::quiet("kitchen").unwrap(), None).unwrap()
}

fn kitchen(counted: &Counted) -> Router {
    let endless = stream::pending::<Result<Bytes, Infallible>>;
    let router = Router::new()
        .route("/dishes/{dish}", get(async || "soup").post(async || "soup"))
        .route("/fire", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/endless", get(async move || Body::from_stream(endless())));
    counted.over(router)
}

async fn ask(router: &Router, method: &str, path: &str) -> axum::response::Response {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from("please")).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn read(response: axum::response::Response) {
    axum::body::to_bytes(response.into_body(), 1024)
        .await
        .unwrap();
}

fn text(counted: &Counted) -> String {
    exposition::text(&counted.telemetry.registry.snapshot()).unwrap()
}

fn assert_has(counted: &Counted, lines: &[&str]) {
    let text = text(counted);
    for line in lines {
        assert!(text.lines().any(|own| own == *line), "{line}: {text}");
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("in time");
}

#[tokio::test]
async fn a_request_counts_by_its_route_with_its_time_and_its_sizes() {
    let counted = counted();
    let router = kitchen(&counted);
    for dish in ["soup", "salad"] {
        read(ask(&router, "GET", &format!("/dishes/{dish}")).await).await;
    }
    assert_has(
        &counted,
        &[
            "http_requests_total{endpoint=\"/dishes/{dish}\",method=\"GET\",status=\"200\"} 2",
            "http_request_duration_seconds_count{endpoint=\"/dishes/{dish}\",method=\"GET\",status=\"200\"} 2",
            "http_request_size_bytes_sum{endpoint=\"/dishes/{dish}\",method=\"GET\"} 12",
            "http_response_size_bytes_sum{endpoint=\"/dishes/{dish}\",method=\"GET\"} 8",
        ],
    );
    assert!(!text(&counted).contains("http_requests_errors_total{"));
}

#[tokio::test]
async fn failures_and_answers_that_nobody_stays_for_are_errors() {
    let counted = counted();
    let router = kitchen(&counted);
    read(ask(&router, "GET", "/fire").await).await;
    drop(ask(&router, "GET", "/endless").await);
    assert_has(
        &counted,
        &[
            "http_requests_total{endpoint=\"/fire\",method=\"GET\",status=\"500\"} 1",
            "http_requests_errors_total{endpoint=\"/fire\",method=\"GET\"} 1",
            "http_requests_total{endpoint=\"/endless\",method=\"GET\",status=\"aborted\"} 1",
            "http_requests_errors_total{endpoint=\"/endless\",method=\"GET\"} 1",
        ],
    );
}

#[tokio::test]
async fn a_head_is_answered_without_a_body_and_is_no_error() {
    let counted = counted();
    drop(ask(&kitchen(&counted), "HEAD", "/dishes/soup").await);
    let text = text(&counted);
    let line = "http_requests_total{endpoint=\"/dishes/{dish}\",method=\"HEAD\",status=\"200\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn who_reads_to_the_announced_length_has_stayed_to_the_end() {
    let counted = counted();
    let answer = ask(&kitchen(&counted), "GET", "/dishes/soup").await;
    let mut frames = answer.into_body().into_data_stream();
    assert_eq!(frames.next().await.unwrap().unwrap(), "soup");
    drop(frames);
    let series = "{endpoint=\"/dishes/{dish}\",method=\"GET\",status=\"200\"}";
    assert_has(&counted, &[&format!("http_requests_total{series} 1")]);
}

#[tokio::test]
async fn ten_thousand_paths_and_methods_are_a_few_series() {
    let counted = counted();
    let router = kitchen(&counted);
    for number in 0..10_000 {
        let path = format!("/secret/{number}");
        read(ask(&router, "GET", &path).await).await;
        read(ask(&router, &format!("BREW{number}"), &path).await).await;
    }
    let text = text(&counted);
    let series = text
        .lines()
        .filter(|line| line.starts_with("http_requests_total{"));
    assert_eq!(series.count(), 2);
    assert_has(
        &counted,
        &[
            "http_requests_total{endpoint=\"unmatched\",method=\"GET\",status=\"404\"} 10000",
            "http_requests_total{endpoint=\"unmatched\",method=\"other\",status=\"404\"} 10000",
        ],
    );
}

#[tokio::test]
async fn a_service_can_count_the_same_under_its_own_name() {
    let opts = Opts::new("kitchen_http_requests_total", "Requests.");
    let also = IntCounterVec::new(opts, &["method", "endpoint", "status"]).unwrap();
    let telemetry = Telemetry::quiet("kitchen").unwrap();
    let counted = Counted::new(&telemetry, Some(also.clone())).unwrap();
    read(ask(&kitchen(&counted), "POST", "/dishes/soup").await).await;
    let labels = ["POST", "/dishes/{dish}", "200"];
    assert_eq!(also.with_label_values(&labels).get(), 1);
}

#[tokio::test]
async fn a_request_that_says_where_it_comes_from_is_part_of_that_trace() {
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let spans = std::sync::Arc::new(Outbox::new(9, 9, dropped));
    let telemetry = Telemetry {
        tracer: Tracer::new(
            "kitchen",
            Sampler::all(),
            Some(std::sync::Arc::clone(&spans)),
        ),
        ..Telemetry::quiet("kitchen").unwrap()
    };
    let counted = Counted::new(&telemetry, None).unwrap();
    let router = kitchen(&counted);
    read(ask(&router, "GET", "/dishes/soup").await).await;
    assert!(spans.take().is_empty());

    let request = Request::builder().uri("/dishes/soup");
    let request = request.header("traceparent", CALLER).body(Body::empty());
    read(router.oneshot(request.unwrap()).await.unwrap()).await;
    let [span] = spans.take().try_into().unwrap();
    assert_eq!(span.name, "GET");
    assert_eq!(span.parent.unwrap().to_string(), "b7ad6b7169203331");
    let name = "http_request_duration_seconds";
    let snapshot = telemetry.registry.snapshot();
    let mut families = snapshot.families.iter();
    let family = families.find(|family| family.name() == name).unwrap();
    let exemplars = snapshot.exemplars(name, &family.get_metric()[0]);
    let traces = exemplars
        .into_iter()
        .flatten()
        .map(|exemplar| exemplar.trace);
    assert_eq!(traces.collect::<Vec<_>>(), [span.context.trace.to_bytes()]);
}

#[tokio::test]
async fn connections_count_while_they_are_open() {
    let counted = counted();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Connections::new(listener, counted.connections());
    let server = axum::serve(connections, kitchen(&counted));
    let server = tokio::spawn(server.into_future());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /dishes/soup HTTP/1.1\r\nhost: test\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut byte = [0];
    timeout(PATIENCE, stream.read_exact(&mut byte))
        .await
        .unwrap()
        .unwrap();
    assert_has(
        &counted,
        &["http_active_connections 1", "active_connections 1"],
    );
    drop(stream);
    until(|| counted.connections().get() == 0).await;
    server.abort();
}
