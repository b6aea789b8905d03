use std::time::Duration;

use http::{Request, Response};
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

use crate::trace::{
    Kind, Sampler, SpanId, TRACEPARENT, TraceContext, TraceId, Value, current_context,
};
use kitchen::{Kitchen, ORDER};

mod kitchen;

/// How long something that is bound to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn caller(sampled: bool) -> TraceContext {
    TraceContext {
        trace: TraceId::random(),
        span: SpanId::random(),
        sampled,
        state: None,
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
async fn every_call_counts_under_its_code() {
    let kitchen = Kitchen::open(Sampler::none()).await;
    assert_eq!(kitchen.order("soup", None).await.unwrap(), "soup");
    for dish in ["nothing", "fire"] {
        kitchen.order(dish, None).await.unwrap_err();
    }
    for code in ["ok", "not_found", "internal"] {
        assert_eq!(kitchen.ended("Order", code), 1, "{code}");
    }
    assert_eq!(kitchen.timed("Order"), 3);
    assert_eq!(kitchen.in_flight("Order"), 0);
}

#[tokio::test]
async fn a_stream_counts_when_it_ends_and_not_before() {
    let kitchen = Kitchen::open(Sampler::none()).await;
    let mut plates = kitchen.watch().await;
    kitchen.serve(Ok("soup"));
    assert_eq!(plates.message().await.unwrap().unwrap(), "soup");
    assert_eq!((kitchen.timed("Watch"), kitchen.in_flight("Watch")), (0, 1));
    kitchen.serve(Err(Code::DataLoss));
    plates.message().await.unwrap_err();
    assert_eq!(kitchen.ended("Watch", "data_loss"), 1);
    assert_eq!((kitchen.timed("Watch"), kitchen.in_flight("Watch")), (1, 0));
}

#[tokio::test]
async fn a_call_whose_caller_leaves_is_cancelled() {
    let kitchen = Kitchen::open(Sampler::none()).await;
    let plates = kitchen.watch().await;
    drop(plates);
    // Something to send is what makes a server look whether anybody is there.
    kitchen.serve(Ok("soup"));
    until(|| kitchen.ended("Watch", "cancelled") == 1).await;

    let waiting = kitchen.order("wait", None);
    let begun = until(|| kitchen.in_flight("Order") == 1);
    tokio::select! {
        _ = waiting => panic!("an order that is never ready"),
        () = begun => {}
    }
    until(|| kitchen.ended("Order", "cancelled") == 1).await;
    assert_eq!(kitchen.in_flight("Order"), 0);
}

#[tokio::test]
async fn a_call_that_outlasts_its_caller_s_patience_is_out_of_time() {
    let kitchen = Kitchen::open(Sampler::all()).await;
    // The layer alone: of a caller and a server that both watch the time either may be the first.
    let served = kitchen
        .layer
        .layer(tower::service_fn(async |_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, http::Error>>().await
        }));
    let request = Request::builder().uri(ORDER).header("grpc-timeout", "20m");
    let mut call = Box::pin(served.oneshot(request.body(Body::empty()).unwrap()));
    assert!(futures::poll!(&mut call).is_pending());
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(call);
    assert_eq!(kitchen.ended("Order", "deadline_exceeded"), 1);
    assert_eq!(kitchen.ended("Order", "cancelled"), 0);
    let [span] = kitchen.spans.take().try_into().unwrap();
    assert_eq!(span.error.as_deref(), Some("the caller's time was up"));
}

#[tokio::test]
async fn a_call_that_panics_is_an_internal_error() {
    let kitchen = Kitchen::open(Sampler::none()).await;
    kitchen.order("panic", None).await.unwrap_err();
    until(|| kitchen.ended("Order", "internal") == 1).await;
    assert_eq!(kitchen.in_flight("Order"), 0);
}

#[tokio::test]
async fn the_caller_is_the_parent() {
    let kitchen = Kitchen::open(Sampler::none()).await;
    let caller = caller(true);
    let told = kitchen.order("where", Some(&caller.traceparent())).await;
    let told: TraceContext = told.unwrap().parse().unwrap();
    let [span] = kitchen.spans.take().try_into().unwrap();
    assert_eq!((span.name, span.kind), ("test.Kitchen/Order", Kind::Server));
    assert_eq!(
        (span.context.trace, span.parent),
        (caller.trace, Some(caller.span))
    );
    assert!(span.parent_is_remote && span.error.is_none());
    // What the call asks of others in turn follows from its span.
    assert_eq!((told.trace, told.span), (caller.trace, span.context.span));
    let attributes = [
        ("rpc.system", Value::from("grpc")),
        ("rpc.service", "test.Kitchen".into()),
        ("rpc.method", "Order".into()),
        ("rpc.grpc.status_code", 0.into()),
    ];
    assert_eq!(span.attributes, attributes);
}

#[tokio::test]
async fn a_failed_call_is_a_failed_span_and_a_mistake_of_the_caller_is_none() {
    let kitchen = Kitchen::open(Sampler::all()).await;
    kitchen.order("nothing", None).await.unwrap_err();
    kitchen.order("fire", None).await.unwrap_err();
    let [nothing, fire] = kitchen.spans.take().try_into().unwrap();
    assert_eq!((nothing.parent, nothing.error), (None, None));
    assert_eq!(fire.error.as_deref(), Some("the kitchen burns: 100%"));
}

#[tokio::test]
async fn no_span_waits_for_a_stream_and_the_trace_is_behind_its_duration() {
    let kitchen = Kitchen::open(Sampler::all()).await;
    let mut plates = kitchen.watch().await;
    let [span] = kitchen.spans.take().try_into().unwrap();
    kitchen.close();
    assert_eq!(plates.message().await.unwrap(), None);
    assert!(kitchen.spans.take().is_empty());
    let traces = kitchen.traces_behind_durations();
    assert_eq!(traces, [span.context.trace.to_bytes()]);
}

#[tokio::test]
async fn a_malformed_place_is_counted_and_a_new_trace_begins() {
    let kitchen = Kitchen::open(Sampler::all()).await;
    let told = kitchen.order("where", Some("00-what-ever-01")).await;
    assert!(told.unwrap().parse::<TraceContext>().is_ok());
    let [span] = kitchen.spans.take().try_into().unwrap();
    assert_eq!(span.parent, None);
    let line = "telemetry_bad_input_total{kind=\"traceparent\"}";
    assert_eq!(kitchen.number(line), Some(1));
}

#[tokio::test]
async fn a_fault_is_logged_once_with_its_message_and_its_trace() {
    let kitchen = Kitchen::open(Sampler::all()).await;
    let log = kitchen::Log::default();
    let _listening = log.listen();
    for dish in ["soup", "nothing", "fire"] {
        drop(kitchen.order(dish, None).await);
    }
    let [line] = log.lines().try_into().unwrap();
    let spans = kitchen.spans.take();
    assert_eq!(line.trace, Some(spans[2].context.trace));
    for part in ["test.Kitchen/Order", "internal", "the kitchen burns: 100%"] {
        assert!(line.text.contains(part), "{}", line.text);
    }
}

#[tokio::test]
async fn ten_thousand_paths_are_one_series() {
    let kitchen = Kitchen::open(Sampler::none()).await;
    let layer = kitchen.layer.clone();
    let served = layer.layer(tower::service_fn(async |_: Request<Body>| {
        let response = Response::builder().header("grpc-status", "12");
        response.body(Body::empty())
    }));
    let before = kitchen.series("rpc_");
    for path in 0..10_000 {
        let request = Request::builder().uri(format!("/test.Kitchen/Order{path}"));
        let request = request.body(Body::empty()).unwrap();
        served.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(kitchen.series("rpc_"), before + 1);
    let line = "rpc_requests_total{code=\"unimplemented\",method=\"unknown\",service=\"unknown\"}";
    assert_eq!(kitchen.number(line), Some(10_000));
}

#[tokio::test]
async fn tools_and_probes_are_neither_counted_nor_traced() {
    let kitchen = Kitchen::open(Sampler::all()).await;
    let served = kitchen
        .layer
        .layer(tower::service_fn(async |_: Request<Body>| {
            Ok::<_, http::Error>(Response::new(Body::empty()))
        }));
    let before = kitchen.series("rpc_");
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let request = Request::builder().uri(path).header(TRACEPARENT, "nonsense");
        let request = request.body(Body::empty()).unwrap();
        served.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(kitchen.series("rpc_"), before);
    assert!(kitchen.spans.take().is_empty());
}

#[tokio::test]
async fn what_a_service_does_before_its_first_wait_is_part_of_the_call() {
    let kitchen = Kitchen::open(Sampler::none()).await;
    let is_somewhere = |_: Request<Body>| {
        assert!(current_context().is_some());
        std::future::ready(Ok::<_, http::Error>(Response::new(Body::empty())))
    };
    let served = kitchen.layer.layer(tower::service_fn(is_somewhere));
    let request = Request::builder().uri("/test.Kitchen/Order");
    let request = request.body(Body::empty()).unwrap();
    served.oneshot(request).await.unwrap();
}
