//! What arrives is what was put.

use super::*;

use crate::export::sink::SeenSpan;
use crate::trace::{Kind, SpanId, TraceContext, TraceId};

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
    let instance = |span: &SeenSpan| span.resource["service.instance.id"].clone();
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
        house.exporter.spans.put(SpanRecord {
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
            started: UNIX_EPOCH,
            ended: UNIX_EPOCH,
            attributes: Vec::new(),
            links: Vec::new(),
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
