//! The endpoint for those who run a service: health, readiness, metrics.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::Telemetry;
use crate::health::{Found, Health};
use crate::http::{Connections, Counted};
use crate::metrics::exposition::{self, Format};
use crate::metrics::{IntCounterVec, VERSION};

/// How long open connections may hold up a shutdown: one check, and then some. A client that
/// connects and says nothing would otherwise keep the process alive.
const DRAIN_MAX: Duration = Duration::from_millis(1500);

/// What a service shows of itself.
#[derive(Debug, Clone)]
pub struct Operations {
    /// Its name, such as `orchestrator`.
    pub service: &'static str,
    /// What it depends on.
    pub health: Health,
    /// What it counts.
    pub telemetry: Telemetry,
    /// Counts the same requests as `http_requests_total`, by the same labels, under a name of the
    /// service's own.
    pub also_counted: Option<IntCounterVec>,
}

/// Where `/metrics` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricsEndpoint {
    /// Beside `/health`.
    #[default]
    Here,
    /// At a port of its own, on the same address.
    Port(u16),
    /// Nowhere.
    Off,
}

/// Why a service cannot be looked at.
#[derive(Debug, Error)]
pub enum StartError {
    /// The port for metrics cannot be had.
    #[error("PROMETHEUS_PORT: {address} cannot be listened at: {source}; take a free port")]
    Port {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener has no address.
    #[error(transparent)]
    Listener(#[from] io::Error),
    /// A metric's name is taken.
    #[error(transparent)]
    Metrics(#[from] crate::metrics::Error),
}

/// An endpoint that answers. Dropped, it stops without waiting.
#[derive(Debug)]
pub struct Answering {
    /// Where `/metrics` answers, if anywhere.
    pub metrics: Option<SocketAddr>,
    stop: DropGuard,
    servers: TaskTracker,
}

/// Answers on `listener`. It goes on while the service drains, and says so.
///
/// # Errors
///
/// [`StartError`].
pub async fn start(listener: TcpListener, operations: Operations) -> Result<Answering, StartError> {
    let counted = Counted::new(&operations.telemetry, operations.also_counted.clone())?;
    let address = listener.local_addr()?;
    let (stop, servers) = (CancellationToken::new(), TaskTracker::new());
    let serve_at = |listener, router| {
        let connections = Connections::new(listener, counted.connections());
        servers.spawn(serve(connections, counted.over(router), stop.clone()));
    };
    let shown = Arc::new(Shown {
        operations,
        started: Instant::now(),
    });
    let metrics = match shown.operations.telemetry.metrics_endpoint {
        MetricsEndpoint::Here => Some(address),
        MetricsEndpoint::Off => None,
        MetricsEndpoint::Port(port) => {
            let address = SocketAddr::new(address.ip(), port);
            let bound = TcpListener::bind(address).await;
            let listener = bound.map_err(|source| StartError::Port { address, source })?;
            let address = listener.local_addr()?;
            let router = Router::new().route("/metrics", get(metrics_text));
            serve_at(listener, router.with_state(Arc::clone(&shown)));
            Some(address)
        }
    };
    serve_at(listener, router(shown));
    Ok(Answering {
        metrics,
        stop: stop.drop_guard(),
        servers,
    })
}

impl Answering {
    /// Ends when open requests are answered.
    pub async fn stop(self) {
        drop(self.stop);
        self.servers.close();
        self.servers.wait().await;
    }
}

async fn serve(connections: Connections, router: Router, stop: CancellationToken) {
    let server =
        axum::serve(connections, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = server.into_future() => if let Err(error) = served {
            warn!(error = %error, "operators are no longer served");
        },
        () = drained => warn!("connections of operators are cut at shutdown"),
    }
}

fn router(shown: Arc<Shown>) -> Router {
    let metrics = match shown.operations.telemetry.metrics_endpoint {
        MetricsEndpoint::Here => get(metrics_text),
        MetricsEndpoint::Off => get(async || {
            let text = "there are no metrics: PROMETHEUS_ENABLED is false\n";
            (StatusCode::NOT_FOUND, text)
        }),
        MetricsEndpoint::Port(_) => get(async || {
            let text = "metrics have a port of their own: PROMETHEUS_PORT\n";
            (StatusCode::NOT_FOUND, text)
        }),
    };
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", metrics)
        .with_state(shown)
}

struct Shown {
    operations: Operations,
    started: Instant,
}

#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
    timestamp: String,
    version: &'static str,
    /// Seconds since the start.
    uptime: u64,
    service: &'static str,
    services: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct LiveBody {
    status: &'static str,
}

#[derive(Serialize)]
struct ReadyBody {
    status: &'static str,
    failing: Vec<&'static str>,
}

/// Whether everything that the service has to do with is there.
async fn health(State(shown): State<Arc<Shown>>) -> (StatusCode, Json<HealthBody>) {
    let found = shown.operations.health.look().await;
    let (code, status) = if found.iter().all(|found| found.is_there) {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    };
    let word = |found: &Found| match found.is_there {
        true => "connected",
        false => "disconnected",
    };
    let body = HealthBody {
        status,
        timestamp: humantime::format_rfc3339_millis(now()).to_string(),
        version: VERSION,
        uptime: shown.started.elapsed().as_secs(),
        service: shown.operations.service,
        services: found
            .iter()
            .map(|found| (found.name, word(found)))
            .collect(),
    };
    (code, Json(body))
}

/// Whether the process answers at all. It looks at nothing else: to restart a service because its
/// store is away helps nobody.
async fn live() -> Json<LiveBody> {
    Json(LiveBody { status: "alive" })
}

/// Whether the service takes work: it has what it needs, and is not about to end.
async fn ready(State(shown): State<Arc<Shown>>) -> (StatusCode, Json<ReadyBody>) {
    let health = &shown.operations.health;
    let (status, failing) = if health.is_draining() {
        ("draining", Vec::new())
    } else {
        let found = health.look().await;
        let failing = found
            .iter()
            .filter(|found| found.is_needed && !found.is_there);
        let failing: Vec<_> = failing.map(|found| found.name).collect();
        let status = if failing.is_empty() {
            "ready"
        } else {
            "not_ready"
        };
        (status, failing)
    };
    let code = match status {
        "ready" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(ReadyBody { status, failing }))
}

async fn metrics_text(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let format = Format::accepted(accept.and_then(|accept| accept.to_str().ok()));
    let snapshot = shown.operations.telemetry.registry.snapshot();
    match exposition::encode(&snapshot, format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            error!(error = %error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the answer is for people who look at their own clocks"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
