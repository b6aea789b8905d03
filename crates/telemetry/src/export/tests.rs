mod arrival;
mod failure;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::UNIX_EPOCH;

use tokio::net::TcpSocket;
use tokio::time::timeout;
use tracing::Level;

use super::sink::{Received, Sink};
use super::*;
use crate::metrics::Registry;
use crate::trace::{Sampler, Tracer, Value};

/// How long a test waits for what is bound to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a test waits for what will not come.
const IMPATIENCE: Duration = Duration::from_millis(200);
const NEVER: Duration = Duration::from_secs(600);

struct House {
    exporter: Exporter,
    metrics: ExportMetrics,
}

fn otlp(endpoint: &str) -> Otlp {
    Otlp {
        endpoint: endpoint.to_owned(),
        headers: Vec::new(),
        timeout: PATIENCE,
        queue: 100,
        batch: 10,
        delay: Duration::from_millis(5),
    }
}

/// Sends nothing before a batch is complete, or the end.
fn patient(endpoint: &str) -> Otlp {
    Otlp {
        delay: NEVER,
        ..otlp(endpoint)
    }
}

fn started(otlp: &Otlp) -> House {
    named(otlp, Resource::default())
}

fn named(otlp: &Otlp, resource: Resource) -> House {
    let registry = Registry::new("test").unwrap();
    let metrics = ExportMetrics::register(&registry).unwrap();
    let exporter = Exporter::start(otlp, resource, metrics.clone()).unwrap();
    House { exporter, metrics }
}

impl House {
    fn put_spans(&self, number: usize) {
        let tracer = Tracer::new("o", Sampler::all(), Some(Arc::clone(&self.exporter.spans)));
        for _ in 0..number {
            drop(tracer.serve("work", None));
        }
    }

    fn dropped_spans(&self) -> u64 {
        self.metrics.spans_dropped.get()
    }

    /// Finishes while the runtime goes on.
    async fn finish(self, patience: Duration) -> (bool, ExportMetrics) {
        let finish = tokio::task::spawn_blocking(move || self.exporter.finish(patience));
        (finish.await.unwrap(), self.metrics)
    }
}

fn log(service: &'static str, message: String) -> LogRecord {
    LogRecord {
        at: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001),
        level: Level::WARN,
        service,
        logger: "orchestrator::rounds",
        module: "orchestrator::rounds::close",
        function: "close_round",
        line: 42,
        message,
        fields: vec![("round", Value::Int(3)), ("round", Value::Int(4))],
        place: None,
        kept: false,
    }
}

async fn all_of(sink: &Sink, spans: usize, logs: usize) -> Received {
    let enough = |received: &Received| received.spans.len() >= spans && received.logs.len() >= logs;
    let received = sink.until(PATIENCE, enough).await;
    assert_eq!((received.spans.len(), received.logs.len()), (spans, logs));
    received
}

/// A port at which nobody listens, but a sink may. It is kept from others for as long as the
/// socket lives.
fn dead() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(any).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Looks again and again; the counters of another thread call nobody.
async fn at_last(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, look).await.unwrap();
}
