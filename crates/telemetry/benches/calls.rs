//! What telemetry costs a call: unary calls per second with the layers of a service, beside the
//! same server without them, at several shares of kept traces.
//!
//! Server, clients and the collector share this process, so what sending the spans costs is in the
//! figures. The two sides take turns, and the medians of the turns' ratios are printed.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::join_all;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use telemetry::config::environment::Environment;
use telemetry::export::sink::Sink;
use telemetry::metrics::heap::Allocator;
use telemetry::trace::Traced;
use telemetry::{Host, Household, Telemetry, rpc};
use tonic::body::Body;
use tonic::transport::channel::ResponseFuture;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::Service;

// As in the services: with another allocator the two sides differ in how they wait for its locks.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Calls under way at one time.
const IN_FLIGHT: usize = 64;

/// Turns of each side.
const TURNS: usize = 15;

/// How long a turn takes.
const TURN: Duration = Duration::from_millis(300);

/// The one call, which does nothing.
const CALL: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A service that does nothing: its messages are empty.
struct Idle;

#[tonic::async_trait]
impl TraceService for Idle {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    println!(
        "{:<34} {:>8} {:>8}  target",
        "unary calls, 64 in flight", "ratio", "spread"
    );
    let plain = serve(None);
    for (share, target) in [("0", 0.97), ("0.1", 0.95), ("1", 0.88)] {
        let sink = Sink::start().expect("a sink");
        let endpoint = sink.endpoint();
        let host = host(share, &endpoint);
        let telemetry = host.telemetry();
        let layer = rpc::Layer::new(&telemetry, [(CALL, false)]).expect("a layer");
        let watched = serve(Some(layer));
        let mut ratios = Vec::new();
        for _ in 0..TURNS {
            let without = calls(plain, None).await;
            ratios.push(calls(watched, Some(&telemetry)).await / without);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "kept: {:<28} {:>8.3} {:>8.3}  ≥ {target}",
            share,
            ratios[TURNS / 2],
            ratios[TURNS * 3 / 4] - ratios[TURNS / 4],
        );
        host.end().await;
    }
}

/// A process that keeps this share of its traces and sends them.
fn host(share: &str, endpoint: &str) -> Host {
    let environment = Environment::read(|name| match name {
        "OTEL_TRACES_SAMPLER" => Some("parentbased_traceidratio".to_owned()),
        "OTEL_TRACES_SAMPLER_ARG" => Some(share.to_owned()),
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
        _ => None,
    });
    Host::begin("bench", Household::Alone, environment).expect("metrics")
}

fn serve(layer: Option<rpc::Layer>) -> SocketAddr {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address"));
    let incoming = incoming.expect("a port").with_nodelay(Some(true));
    let address = incoming.local_addr().expect("an address");
    let service = TraceServiceServer::new(Idle);
    tokio::spawn(async move {
        let served = match layer {
            Some(layer) => {
                let server = Server::builder().layer(layer).add_service(service);
                server.serve_with_incoming(incoming).await
            }
            None => {
                let server = Server::builder().add_service(service);
                server.serve_with_incoming(incoming).await
            }
        };
        served.expect("a server");
    });
    address
}

/// Calls per second in one turn; with telemetry, each is made in a piece of work of its own.
async fn calls(server: SocketAddr, telemetry: Option<&Telemetry>) -> f64 {
    let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("an address");
    let channel = endpoint.connect().await.expect("a connection");
    let ends = Instant::now() + TURN;
    let callers = (0..IN_FLIGHT).map(|_| {
        let (channel, telemetry) = (channel.clone(), telemetry.cloned().map(Arc::new));
        tokio::spawn(async move { call_until(ends, channel, telemetry).await })
    });
    let started = Instant::now();
    let made = join_all(callers).await;
    let made: u32 = made.into_iter().map(|made| made.expect("calls")).sum();
    f64::from(made) / started.elapsed().as_secs_f64()
}

async fn call_until(ends: Instant, channel: Channel, telemetry: Option<Arc<Telemetry>>) -> u32 {
    let mut made = 0;
    let mut plain = TraceServiceClient::new(channel.clone());
    let mut stamped = TraceServiceClient::new(Stamped(channel));
    while Instant::now() < ends {
        let message = ExportTraceServiceRequest::default();
        let answer = match &telemetry {
            None => plain.export(message).await,
            Some(telemetry) => {
                let span = telemetry.tracer.resume("call", None);
                stamped.export(message).in_span(span).await
            }
        };
        answer.expect("an answer");
        made += 1;
    }
    made
}

/// A connection that tells the server where in a trace the caller is, as those of the services do.
#[derive(Clone)]
struct Stamped(Channel);

impl Service<http::Request<Body>> for Stamped {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> ResponseFuture {
        rpc::stamp(request.headers_mut());
        self.0.call(request)
    }
}
