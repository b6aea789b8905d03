//! The endpoint for those who run a service: health, readiness, metrics.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::metrics::exposition::{self, TEXT};
use crate::metrics::{Registry, VERSION};
use crate::{Check, Readiness};

/// How long open connections may hold up a shutdown. Answers here take milliseconds; a client that
/// connects and says nothing would otherwise keep the process alive.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What a service shows of itself.
#[derive(Debug, Clone)]
pub struct Operations {
    /// Its name, such as `orchestrator`.
    pub service: &'static str,
    /// Whether it can work.
    pub readiness: Readiness,
    /// What it counts.
    pub registry: Registry,
}

/// Answers on `listener` until `shutdown` completes and open requests are answered.
///
/// # Errors
///
/// What the listener says.
pub async fn serve(
    listener: TcpListener,
    operations: Operations,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop, stopping) = oneshot::channel::<()>();
    let shutdown = async move {
        shutdown.await;
        drop(stop);
    };
    let server = axum::serve(listener, router(operations)).with_graceful_shutdown(shutdown);
    let drained = async {
        // Ends when `stop` is dropped, which is all it is for.
        drop(stopping.await);
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = drained => {
            warn!(drain_seconds = DRAIN_MAX.as_secs(), "connections cut at shutdown");
            Ok(())
        }
    }
}

/// The endpoint as a router: `/health`, `/health/live`, `/ready` and `/metrics`.
pub fn router(operations: Operations) -> Router {
    let shown = Shown {
        operations,
        started: Instant::now(),
    };
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Arc::new(shown))
}

struct Shown {
    operations: Operations,
    started: Instant,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    failing: Vec<&'static str>,
}

/// How the service is doing. It answers 200 as long as it can answer; `/ready` is stricter.
async fn health(State(shown): State<Arc<Shown>>) -> Json<Health> {
    let checks = shown.operations.readiness.checks();
    let well = checks.iter().all(|check| check.ok);
    Json(Health {
        status: if well { "ok" } else { "degraded" },
        service: shown.operations.service,
        version: VERSION,
        uptime_seconds: shown.started.elapsed().as_secs(),
        checks,
    })
}

async fn live() -> Json<Live> {
    Json(Live { status: "alive" })
}

async fn ready(State(shown): State<Arc<Shown>>) -> (StatusCode, Json<Ready>) {
    let failing = shown.operations.readiness.failing();
    let (code, status) = if failing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    (code, Json(Ready { status, failing }))
}

async fn metrics_text(State(shown): State<Arc<Shown>>) -> Response {
    match exposition::text(&shown.operations.registry.snapshot()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            error!(error = %error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;

    struct Running {
        address: SocketAddr,
        readiness: Readiness,
        stop: oneshot::Sender<()>,
        server: JoinHandle<io::Result<()>>,
    }

    async fn start() -> Running {
        let readiness = Readiness::new(&["queue", "store"]);
        let operations = Operations {
            service: "orchestrator",
            readiness: readiness.clone(),
            registry: Registry::new("orchestrator").unwrap(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap() };
        Running {
            address,
            readiness,
            stop,
            server: tokio::spawn(serve(listener, operations, shutdown)),
        }
    }

    /// The status line and headers, and the body.
    async fn get(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn parsed(body: &str) -> Value {
        serde_json::from_str(body).unwrap()
    }

    #[tokio::test]
    async fn health_tells_who_is_there_and_how_it_stands() {
        let running = start().await;
        running.readiness.set("store", true);
        let (head, body) = get(running.address, "/health").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut health = parsed(&body);
        assert!(health["uptime_seconds"].take().is_u64());
        assert_eq!(
            health,
            json!({
                "status": "degraded",
                "service": "orchestrator",
                "version": VERSION,
                "uptime_seconds": null,
                "checks": [{"name": "queue", "ok": false}, {"name": "store", "ok": true}],
            })
        );
        let (head, _) = get(running.address, "/health/live").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let running = start().await;
        running.readiness.set("queue", true);
        let (head, body) = get(running.address, "/ready").await;
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        assert_eq!(parsed(&body)["failing"], json!(["store"]));

        running.readiness.set("store", true);
        let (head, body) = get(running.address, "/ready").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(parsed(&body), json!({"status": "ready", "failing": []}));
    }

    #[tokio::test]
    async fn metrics_are_what_prometheus_reads() {
        let running = start().await;
        let (head, body) = get(running.address, "/metrics").await;
        let content_type = format!("content-type: {TEXT}");
        assert!(head.lines().any(|line| line == content_type), "{head}");
        assert!(body.contains("pangea_build_info{"), "{body}");
    }

    #[tokio::test]
    async fn an_unknown_path_is_not_found() {
        let running = start().await;
        let (head, _) = get(running.address, "/").await;
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    }

    #[tokio::test]
    async fn shutdown_ends_the_server() {
        let running = start().await;
        get(running.address, "/health").await;
        running.stop.send(()).unwrap();
        running.server.await.unwrap().unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }
}
