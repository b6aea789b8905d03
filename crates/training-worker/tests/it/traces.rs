//! Where tasks stand in traces.

use std::num::NonZeroUsize;
use std::time::Duration;

use proto::v1::TraceContext as Said;
use proto::v1::worker_message::Kind;
use task_queue::TaskQueue;
use telemetry::trace::{Kind as Side, SpanRecord, TraceContext, Value};

use crate::workshop::{Scene, run_id};

const SENDER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SENDER_OF_NOTHING: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn sender() -> TraceContext {
    SENDER.parse().unwrap()
}

fn one<'a>(spans: &'a [SpanRecord], name: &str) -> &'a SpanRecord {
    let mut named = spans.iter().filter(|span| span.name == name);
    let first = named
        .next()
        .unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(named.next().is_none(), "two of {name}");
    first
}

fn attribute<'a>(span: &'a SpanRecord, key: &str) -> Option<&'a Value> {
    let known = span.attributes.iter().find(|(name, _)| *name == key);
    known.map(|(_, value)| value)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// What the only report says of its place.
fn said(reports: &[Kind]) -> Said {
    match reports {
        [Kind::Done(done)] => done.trace.clone().unwrap(),
        [Kind::Failed(failed)] => failed.trace.clone().unwrap(),
        _ => panic!("{reports:?}"),
    }
}

#[tokio::test]
async fn a_task_continues_the_trace_of_its_message_and_the_report_tells_on() {
    let mut scene = Scene::new();
    let task = scene.task(3).await;
    let attributes = [("traceparent", SENDER), ("tracestate", "vendor=7")];
    scene.send(&task, &attributes).await;
    let reports = scene.work(1).await;
    let spans = scene.spans();
    let task = one(&spans, "task");
    assert_eq!(task.kind, Side::Consumer);
    assert_eq!(task.parent, Some(sender().span));
    assert!(task.parent_is_remote && task.links.is_empty());
    for (key, value) in [
        ("run", text(&run_id().to_string())),
        ("round", Value::Int(3)),
        ("participant_id", text("client-0007")),
        ("agent_id", text("client-0007")),
        ("attempt", Value::Int(1)),
        ("messaging.system", Value::Word("pangea")),
        ("messaging.delivery_attempt", Value::Int(1)),
        ("outcome", Value::Word("judged")),
    ] {
        assert_eq!(attribute(task, key), Some(&value), "{key}");
    }
    for name in ["fetch", "train", "report"] {
        let part = one(&spans, name);
        assert_eq!(part.parent, Some(task.context.span), "{name}");
        assert!(task.started <= part.started && part.ended <= task.ended);
    }
    let train = one(&spans, "train");
    assert_eq!(attribute(train, "batch_size"), Some(&Value::Int(16)));
    assert_eq!(attribute(train, "num_steps"), Some(&Value::Int(4)));
    assert_eq!(attribute(train, "num_examples"), Some(&Value::Int(30)));
    assert!(matches!(attribute(train, "loss"), Some(Value::Float(loss)) if *loss > 0.0));
    assert_eq!(spans.len(), 4, "no other span is held: {spans:#?}");
    assert!(
        spans
            .iter()
            .all(|span| span.context.trace == sender().trace)
    );

    let report = &one(&spans, "report").context;
    let said = said(&reports);
    assert_eq!(said.traceparent, report.traceparent());
    assert_eq!(said.tracestate, "vendor=7");
}

#[tokio::test]
async fn a_redelivery_is_linked_to_its_sender() {
    let mut scene = Scene::new();
    let task = scene.task(3).await;
    scene.send(&task, &[("traceparent", SENDER)]).await;
    let (ttl, now) = (Duration::from_secs(60), Duration::ZERO);
    let taken = scene.queue.receive(&[], NonZeroUsize::MIN, ttl, now).await;
    let handle = &taken.unwrap()[0].handle;
    scene.queue.give_back(handle, now).await.unwrap();
    scene.work(1).await;
    let spans = scene.spans();
    let task = one(&spans, "task");
    let attempt = attribute(task, "messaging.delivery_attempt");
    assert_eq!(attempt, Some(&Value::Int(2)));
    assert_eq!(task.parent, Some(sender().span));
    let [link] = &task.links[..] else {
        panic!("{:?}", task.links);
    };
    assert_eq!((link.to.span, link.relation), (sender().span, "redelivery"));
}

#[tokio::test]
async fn a_task_that_cannot_be_done_says_so_in_its_trace() {
    let mut scene = Scene::new();
    let task = scene.task(4).await;
    scene.send(&task, &[("traceparent", SENDER)]).await;
    let reports = scene.work(1).await;
    let spans = scene.spans();
    assert!(one(&spans, "train").error.is_some());
    let report = one(&spans, "report");
    assert!(
        report.error.as_deref().unwrap().contains("class"),
        "{report:?}"
    );
    assert_eq!(said(&reports).traceparent, report.context.traceparent());
}

#[tokio::test]
async fn a_place_that_cannot_be_read_is_counted_and_begins_another_trace() {
    let mut scene = Scene::new();
    let task = scene.task(3).await;
    scene.send(&task, &[("traceparent", "00-nonsense")]).await;
    scene.work(1).await;
    let spans = scene.spans();
    let task = one(&spans, "task");
    assert_eq!(task.parent, None);
    assert!(
        spans
            .iter()
            .all(|span| span.context.trace == task.context.trace)
    );
    let counted = "telemetry_bad_input_total{kind=\"traceparent\"} 1";
    assert!(scene.numbers().lines().any(|line| line == counted));
}

#[tokio::test]
async fn a_trace_that_is_not_kept_travels_through() {
    let mut scene = Scene::new();
    let task = scene.task(3).await;
    scene
        .send(&task, &[("traceparent", SENDER_OF_NOTHING)])
        .await;
    let reports = scene.work(1).await;
    assert!(scene.spans().is_empty());
    assert_eq!(said(&reports).traceparent, SENDER_OF_NOTHING);
}
