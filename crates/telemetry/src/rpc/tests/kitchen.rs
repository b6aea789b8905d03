//! A kitchen that takes orders over gRPC, behind the layer.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use futures::channel::mpsc;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{Request, Response};
use prometheus::IntCounter;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status, Streaming};
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use super::super::Layer;
use crate::Telemetry;
use crate::export::Outbox;
use crate::metrics::{Registry, exposition};
use crate::operations::MetricsEndpoint;
use crate::trace::{Sampler, SpanRecord, TRACEPARENT, TraceId, Tracer, current_context};

pub(super) const ORDER: &str = "/test.Kitchen/Order";
const WATCH: &str = "/test.Kitchen/Watch";

type Plate = Result<String, Status>;

/// A kitchen that is being served, and the way to it.
pub(super) struct Kitchen {
    pub(super) spans: Arc<Outbox<SpanRecord>>,
    pub(super) layer: Layer,
    registry: Registry,
    plates: mpsc::UnboundedSender<Plate>,
    channel: Channel,
}

impl Kitchen {
    pub(super) async fn open(sampler: Sampler) -> Self {
        let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
        let spans = Arc::new(Outbox::new(100, 100, dropped));
        let registry = Registry::new("kitchen").unwrap();
        let telemetry = Telemetry {
            registry: registry.clone(),
            tracer: Tracer::new("kitchen", sampler, Some(Arc::clone(&spans))),
            metrics_endpoint: MetricsEndpoint::Here,
        };
        let layer = Layer::new(&telemetry, [(ORDER, false), (WATCH, true)]).unwrap();
        let (plates, waiting) = mpsc::unbounded();
        let cook = Cook {
            plates: Arc::new(Mutex::new(Some(waiting))),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Server::builder()
            .layer(layer.clone())
            .add_service(cook)
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(async move { serving.await.unwrap() });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            spans,
            layer,
            registry,
            plates,
            channel: channel.connect().await.unwrap(),
        }
    }

    pub(super) async fn order(&self, dish: &str, traceparent: Option<&str>) -> Plate {
        let mut request = tonic::Request::new(dish.to_owned());
        if let Some(traceparent) = traceparent {
            let value = traceparent.parse().unwrap();
            request.metadata_mut().insert(TRACEPARENT, value);
        }
        self.send(request).await
    }

    async fn send(&self, request: tonic::Request<String>) -> Plate {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let answer = client.unary(request, PathAndQuery::from_static(ORDER), Text);
        Ok(answer.await?.into_inner())
    }

    pub(super) async fn watch(&self) -> Streaming<String> {
        let request = tonic::Request::new(String::new());
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let answer = client.server_streaming(request, PathAndQuery::from_static(WATCH), Text);
        answer.await.unwrap().into_inner()
    }

    /// Puts a plate, or an error, on the stream of whoever watches.
    pub(super) fn serve(&self, plate: Result<&str, Code>) {
        let plate = plate.map(str::to_owned);
        let plate = plate.map_err(|code| Status::new(code, "dropped"));
        // Nobody may be there to take it.
        drop(self.plates.unbounded_send(plate));
    }

    /// Ends the stream.
    pub(super) fn close(&self) {
        self.plates.close_channel();
    }

    pub(super) fn ended(&self, method: &str, code: &str) -> u64 {
        let labels = format!("code=\"{code}\",method=\"{method}\",service=\"test.Kitchen\"");
        let line = format!("rpc_requests_total{{{labels}}}");
        self.number(&line).unwrap_or(0)
    }

    pub(super) fn timed(&self, method: &str) -> u64 {
        let labels = format!("method=\"{method}\",service=\"test.Kitchen\"");
        let line = format!("rpc_request_duration_seconds_count{{{labels}}}");
        self.number(&line).unwrap()
    }

    pub(super) fn in_flight(&self, method: &str) -> u64 {
        let labels = format!("method=\"{method}\",service=\"test.Kitchen\"");
        let line = format!("rpc_requests_in_flight{{{labels}}}");
        self.number(&line).unwrap()
    }

    /// The number of a series, if there is one.
    pub(super) fn number(&self, series: &str) -> Option<u64> {
        let text = exposition::text(&self.registry.snapshot()).unwrap();
        let mut lines = text.lines();
        let number = lines.find_map(|line| line.strip_prefix(series))?;
        Some(number.trim().parse().unwrap())
    }

    /// How many series there are under names that begin so.
    pub(super) fn series(&self, prefix: &str) -> usize {
        let text = exposition::text(&self.registry.snapshot()).unwrap();
        text.lines().filter(|line| line.starts_with(prefix)).count()
    }

    /// The traces that durations of calls remember.
    pub(super) fn traces_behind_durations(&self) -> Vec<[u8; 16]> {
        let name = "rpc_request_duration_seconds";
        let snapshot = self.registry.snapshot();
        let mut families = snapshot.families.iter();
        let family = families.find(|family| family.name() == name).unwrap();
        let series = family.get_metric().iter();
        let exemplars = series.flat_map(|series| snapshot.exemplars(name, series));
        exemplars.flatten().map(|exemplar| exemplar.trace).collect()
    }
}

#[derive(Clone)]
struct Cook {
    plates: Arc<Mutex<Option<mpsc::UnboundedReceiver<Plate>>>>,
}

impl NamedService for Cook {
    const NAME: &'static str = "test.Kitchen";
}

impl tower::Service<Request<Body>> for Cook {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let plates = Arc::clone(&self.plates);
        let is_order = request.uri().path() == ORDER;
        let mut grpc = tonic::server::Grpc::new(Text);
        Box::pin(async move {
            if is_order {
                return Ok(grpc.unary(tower::service_fn(cook), request).await);
            }
            let watch = tower::service_fn(move |_: tonic::Request<String>| {
                let plates = plates.lock().unwrap().take().expect("one watcher");
                std::future::ready(Ok::<_, Status>(tonic::Response::new(plates)))
            });
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

async fn cook(order: tonic::Request<String>) -> Result<tonic::Response<String>, Status> {
    let dish = match order.into_inner().as_str() {
        "nothing" => return Err(Status::not_found("no such dish")),
        "fire" => return Err(Status::internal("the kitchen burns: 100%")),
        "panic" => panic!("as ordered"),
        "wait" => std::future::pending().await,
        "where" => current_context().unwrap().traceparent(),
        dish => dish.to_owned(),
    };
    Ok(tonic::Response::new(dish))
}

/// Texts as messages.
#[derive(Clone, Copy)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(String::from_utf8(bytes).unwrap()))
    }
}

/// The errors that this thread logs.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) trace: Option<TraceId>,
}

impl Log {
    pub(super) fn listen(&self) -> DefaultGuard {
        // Where one subscriber is all there is, a line that another thread reaches first is switched
        // off for every thread. So there are two.
        static OTHERS: LazyLock<Dispatch> =
            LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
        LazyLock::force(&OTHERS);
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() != tracing::Level::ERROR {
            return;
        }
        let mut line = Line {
            text: String::new(),
            trace: current_context().map(|context| context.trace),
        };
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text.push_str(&format!("{}={value:?} ", field.name()));
    }
}
