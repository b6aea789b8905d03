use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout};
use tonic::Code;
use tracing::Level;

use super::sink::{Answer, Received, Sink};
use super::*;
use crate::metrics::Registry;
use crate::trace::{Kind, Link, Sampler, SpanId, TraceContext, TraceId, Tracer, Value};

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

/// A port at which nobody listens.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_span_arrives_whole_under_the_name_of_its_service() {
    let sink = Sink::start().unwrap();
    let house = started(&otlp(&sink.endpoint()));
    let outbox = || Some(Arc::clone(&house.exporter.spans));
    let caller = TraceContext {
        trace: TraceId::random(),
        span: SpanId::random(),
        sampled: true,
        state: Some("vendor=7".into()),
    };
    let one = Tracer::new("orchestrator", Sampler::all(), outbox());
    let span = one.serve("Submit", Some(&caller));
    span.set("round", 3);
    span.set("round", 4);
    span.set("strategy", "fedavg");
    span.set("ratio", 0.5);
    span.set("late", true);
    span.link(caller.clone(), "job");
    span.fail("no such run");
    drop(span);
    let other = Tracer::new("worker", Sampler::all(), outbox());
    drop(other.resume("train", None));

    let received = all_of(&sink, 2, 0).await;
    let [submit, train] = received.spans.try_into().unwrap();
    assert_eq!(
        (&*submit.service, &*submit.name),
        ("orchestrator", "Submit")
    );
    assert_eq!((&*train.service, &*train.name), ("worker", "train"));
    assert_eq!(submit.kind, "SPAN_KIND_SERVER");
    assert_eq!(train.kind, "SPAN_KIND_INTERNAL");
    assert_eq!(submit.trace, caller.trace.to_string());
    assert_eq!(submit.parent, Some(caller.span.to_string()));
    assert!(submit.parent_is_remote && submit.sampled);
    assert!(train.parent.is_none() && !train.parent_is_remote);
    assert_eq!(submit.state, "vendor=7");
    assert!(submit.nanoseconds.0 > 0 && submit.nanoseconds.0 <= submit.nanoseconds.1);
    let attributes = submit
        .attributes
        .iter()
        .map(|(key, value)| (&**key, &**value));
    let expected = [
        ("late", "true"),
        ("ratio", "0.5"),
        ("round", "4"),
        ("strategy", "fedavg"),
    ];
    assert!(attributes.eq(expected), "{:?}", submit.attributes);
    assert_eq!(submit.links.len(), 1);
    assert_eq!(submit.links[0].span, caller.span.to_string());
    assert_eq!(submit.links[0].relation, "job");
    assert_eq!(submit.error.as_deref(), Some("no such run"));
    assert_eq!(train.error, None);
    assert_eq!(submit.resource["service.version"], crate::metrics::VERSION);
    let instance = |span: &sink::SeenSpan| span.resource["service.instance.id"].clone();
    assert_eq!(instance(&submit), instance(&train));
}

#[tokio::test]
async fn a_log_record_arrives_whole_under_the_name_of_its_service() {
    let sink = Sink::start().unwrap();
    let house = started(&otlp(&sink.endpoint()));
    let place = (TraceId::random(), SpanId::random());
    house.exporter.logs.put(LogRecord {
        place: Some(place),
        kept: true,
        ..log("orchestrator", "round closed late".to_owned())
    });
    house
        .exporter
        .logs
        .put(log("worker", "elsewhere".to_owned()));

    let received = all_of(&sink, 0, 2).await;
    let [late, elsewhere] = received.logs.try_into().unwrap();
    assert_eq!(
        (&*late.service, &*elsewhere.service),
        ("orchestrator", "worker")
    );
    assert_eq!(late.nanoseconds, 1_700_000_000_000_000_001);
    assert_eq!((&*late.level, late.severity), ("WARN", 13));
    assert_eq!(late.message, "round closed late");
    let attributes = late
        .attributes
        .iter()
        .map(|(key, value)| (&**key, &**value));
    let expected = [
        ("function", "close_round"),
        ("line", "42"),
        ("logger", "orchestrator::rounds"),
        ("module", "orchestrator::rounds::close"),
        ("round", "4"),
    ];
    assert!(attributes.eq(expected), "{:?}", late.attributes);
    assert_eq!(late.place, Some((place.0.to_string(), place.1.to_string())));
    assert!(late.sampled && !elsewhere.sampled);
    assert_eq!(elsewhere.place, None);
}

#[tokio::test]
async fn each_kind_of_span_keeps_its_side() {
    let sink = Sink::start().unwrap();
    let house = started(&otlp(&sink.endpoint()));
    let kinds = [
        Kind::Internal,
        Kind::Server,
        Kind::Client,
        Kind::Producer,
        Kind::Consumer,
    ];
    for kind in kinds {
        house.exporter.spans.put(crate::trace::SpanRecord {
            service: "o",
            name: "work",
            kind,
            context: TraceContext {
                trace: TraceId::random(),
                span: SpanId::random(),
                sampled: true,
                state: None,
            },
            parent: None,
            parent_is_remote: false,
            started: SystemTime::UNIX_EPOCH,
            ended: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            links: Vec::<Link>::new(),
            error: None,
        });
    }
    let received = all_of(&sink, 5, 0).await;
    let seen: Vec<_> = received.spans.iter().map(|span| span.kind).collect();
    let expected = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    assert_eq!(seen, expected.map(|kind| format!("SPAN_KIND_{kind}")));
}

#[tokio::test]
async fn a_process_says_what_it_was_told_about_itself() {
    let sink = Sink::start().unwrap();
    let attributes = [("team", "federation"), ("service.version", "7")];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let resource = Resource {
        service_name: Some("trainer-7".to_owned()),
        attributes: attributes.into(),
    };
    let told = Otlp {
        headers: vec![("api-key".to_owned(), "secret".to_owned())],
        ..otlp(&sink.endpoint())
    };
    let house = named(&told, resource);
    house.put_spans(1);
    let received = all_of(&sink, 1, 0).await;
    assert_eq!(received.headers["api-key"], "secret");
    let resource = &received.spans[0].resource;
    assert_eq!(resource["service.name"], "trainer-7");
    assert_eq!(resource["team"], "federation");
    assert_eq!(resource["service.version"], "7");
}

#[tokio::test]
async fn a_runtime_that_is_blocked_holds_nothing_back() {
    let sink = Sink::start().unwrap();
    let house = started(&patient(&sink.endpoint()));
    house.put_spans(25);
    house
        .exporter
        .logs
        .put(log("o", "the last words".to_owned()));
    // On the only thread of this runtime.
    assert!(house.exporter.finish(PATIENCE));
    let received = sink.received();
    assert_eq!((received.spans.len(), received.logs.len()), (25, 1));
    // 10, 10 and 5 spans, and the log record.
    assert_eq!(received.requests, 4);
    assert_eq!(house.metrics.exported.of("traces").get(), 25);
    assert_eq!(house.metrics.exported.of("logs").get(), 1);
    assert_eq!(house.metrics.duration.of("traces").count(), 3);
    assert_eq!(house.metrics.spans_dropped.get(), 0);
}

#[tokio::test]
async fn a_full_batch_does_not_wait_for_its_time() {
    let sink = Sink::start().unwrap();
    let house = started(&patient(&sink.endpoint()));
    house.put_spans(11);
    all_of(&sink, 10, 0).await;
    assert_eq!(house.metrics.queued.of("traces").get(), 1);
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_everything_once() {
    let sink = Sink::start().unwrap();
    let address = sink.address();
    let house = started(&otlp(&sink.endpoint()));
    house.put_spans(3);
    all_of(&sink, 3, 0).await;
    drop(sink);
    house.put_spans(30);
    let failures = house.metrics.failures.of("traces").clone();
    let failed = async {
        while failures.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, failed).await.unwrap();
    let sink = Sink::start_at(address).unwrap();
    all_of(&sink, 30, 0).await;
    let (all, metrics) = house.finish(PATIENCE).await;
    assert!(all);
    assert_eq!(sink.received().spans.len(), 30);
    assert_eq!(metrics.exported.of("traces").get(), 33);
    assert_eq!(metrics.spans_dropped.get(), 0);
}

#[tokio::test]
async fn a_request_that_is_not_answered_is_repeated() {
    let sink = Sink::start().unwrap();
    sink.answer(Answer::Silence);
    let impatient = Otlp {
        timeout: Duration::from_millis(50),
        ..otlp(&sink.endpoint())
    };
    let house = started(&impatient);
    house.put_spans(3);
    sink.until(PATIENCE, |received| received.requests > 1).await;
    sink.answer(Answer::Accept);
    all_of(&sink, 3, 0).await;
    assert!(house.metrics.failures.of("traces").get() > 0);
}

#[tokio::test]
async fn what_may_pass_is_repeated() {
    let transient = [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
        Code::Cancelled,
        Code::Aborted,
    ];
    for code in transient {
        let sink = Sink::start().unwrap();
        sink.answer(Answer::Refuse(code));
        let house = started(&otlp(&sink.endpoint()));
        house.put_spans(1);
        sink.until(PATIENCE, |received| received.requests > 0).await;
        sink.answer(Answer::Accept);
        all_of(&sink, 1, 0).await;
        assert_eq!(house.dropped_spans(), 0, "{code:?}");
    }
}

#[tokio::test]
async fn what_will_not_pass_is_dropped_and_counted() {
    let permanent = [
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::Internal,
    ];
    for code in permanent {
        let sink = Sink::start().unwrap();
        sink.answer(Answer::Refuse(code));
        let house = started(&patient(&sink.endpoint()));
        house.put_spans(3);
        // Nothing waits any longer.
        let (all, metrics) = house.finish(PATIENCE).await;
        assert!(all, "{code:?}");
        assert_eq!(metrics.spans_dropped.get(), 3, "{code:?}");
        assert_eq!(sink.received().requests, 1, "{code:?}");
        assert_eq!(metrics.failures.of("traces").get(), 1);
        assert_eq!(metrics.exported.of("traces").get(), 0);
    }
}

#[tokio::test]
async fn what_is_refused_of_a_request_that_went_well_is_counted() {
    let sink = Sink::start().unwrap();
    sink.answer(Answer::Reject(2));
    let house = started(&patient(&sink.endpoint()));
    for number in 0..5 {
        house.exporter.logs.put(log("o", number.to_string()));
    }
    let (all, metrics) = house.finish(PATIENCE).await;
    let requests = sink.received().requests as u64;
    assert!(all && requests > 0);
    assert_eq!(metrics.logs_dropped.get(), (2 * requests).min(5));
    assert_eq!(
        metrics.exported.of("logs").get() + metrics.logs_dropped.get(),
        5
    );
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_dead() {
    let house = started(&otlp(&dead()));
    house.put_spans(3);
    let began = Instant::now();
    let (all, metrics) = house.finish(IMPATIENCE).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(!all);
    assert_eq!(metrics.spans_dropped.get(), 3);
    assert!(metrics.failures.of("traces").get() > 0);
    assert_eq!(metrics.queued.of("traces").get(), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_hangs() {
    // Connections are accepted by the system, and nobody ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let house = started(&otlp(&endpoint));
    house.put_spans(3);
    let began = Instant::now();
    let (all, metrics) = house.finish(IMPATIENCE).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(!all);
    assert_eq!(metrics.spans_dropped.get(), 3);
}

#[tokio::test]
async fn what_comes_after_the_end_is_counted_as_dropped() {
    let sink = Sink::start().unwrap();
    let house = started(&otlp(&sink.endpoint()));
    let outbox = Arc::clone(&house.exporter.logs);
    let (all, metrics) = house.finish(PATIENCE).await;
    assert!(all);
    outbox.put(log("o", "too late".to_owned()));
    assert_eq!(metrics.logs_dropped.get(), 1);
}

#[tokio::test]
async fn an_exporter_that_is_dropped_ends_its_thread() {
    let house = started(&otlp(&dead()));
    house.put_spans(3);
    let outbox = Arc::clone(&house.exporter.spans);
    drop(house.exporter);
    let gone = async {
        while Arc::strong_count(&outbox) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(house.metrics.spans_dropped.get(), 3);
}

#[tokio::test]
async fn more_than_fits_is_dropped_and_counted() {
    let house = started(&otlp(&dead()));
    house.put_spans(150);
    // One batch may be on its way.
    let dropped = house.dropped_spans();
    assert!((40..=50).contains(&dropped), "{dropped}");
    let (_, metrics) = house.finish(Duration::ZERO).await;
    assert_eq!(metrics.spans_dropped.get(), 150);
}

#[tokio::test]
async fn a_request_is_no_longer_than_collectors_take() {
    let sink = Sink::start().unwrap();
    let house = started(&otlp(&sink.endpoint()));
    // Ten of them are more than the 4 MiB that a server takes, and the last is so by itself.
    for _ in 0..10 {
        house.exporter.logs.put(log("o", "x".repeat(700_000)));
    }
    house.exporter.logs.put(log("o", "x".repeat(5_000_000)));
    house.exporter.logs.put(log("o", "short".to_owned()));
    let (all, metrics) = house.finish(PATIENCE).await;
    assert!(all);
    assert_eq!(sink.received().logs.len(), 11);
    assert_eq!(metrics.logs_dropped.get(), 1);
    assert_eq!(metrics.failures.of("logs").get(), 0);
}

#[test]
fn a_place_that_is_none_is_told_with_one_that_is() {
    let registry = Registry::new("test").unwrap();
    let metrics = ExportMetrics::register(&registry).unwrap();
    let start = |otlp: &Otlp| Exporter::start(otlp, Resource::default(), metrics.clone());
    let error = start(&otlp("not one")).unwrap_err().to_string();
    assert_eq!(
        error,
        "OTLP endpoint \"not one\" cannot be used; must be a URL such as http://localhost:4317"
    );
    let secret = Otlp {
        headers: vec![("api-key".to_owned(), "hunter22\n".to_owned())],
        ..otlp("http://localhost:4317")
    };
    let error = start(&secret).unwrap_err().to_string();
    assert!(
        error.contains("api-key") && !error.contains("hunter22"),
        "{error}"
    );
}
