use std::sync::Arc;

use prometheus::IntCounter;

use super::*;
use crate::export::Outbox;

struct Kept {
    tracer: Tracer,
    outbox: Arc<Outbox<SpanRecord>>,
}

fn service(name: &'static str, sampler: Sampler) -> Kept {
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let outbox = Arc::new(Outbox::new(100, 100, dropped));
    Kept {
        tracer: Tracer::new(name, sampler, Some(Arc::clone(&outbox))),
        outbox,
    }
}

fn caller(sampled: bool) -> TraceContext {
    TraceContext {
        trace: TraceId::random(),
        span: SpanId::random(),
        sampled,
        state: Some("vendor=7".into()),
    }
}

#[test]
fn a_service_continues_the_trace_of_its_caller() {
    let kept = service("orchestrator", Sampler::none());
    let caller = caller(true);
    kept.tracer.serve("Submit", Some(&caller)).run(|| {
        let told = current_context().unwrap();
        assert_eq!(
            (told.trace, told.state.as_deref()),
            (caller.trace, Some("vendor=7"))
        );
        assert_ne!(told.span, caller.span);
    });
    let [span] = kept.outbox.take().try_into().unwrap();
    assert_eq!(
        (span.service, span.name, span.kind),
        ("orchestrator", "Submit", Kind::Server)
    );
    assert_eq!(span.parent, Some(caller.span));
    assert!(span.parent_is_remote && span.started <= span.ended);
}

#[test]
fn what_a_thread_was_doing_causes_nothing_in_another_service() {
    let (one, other) = (
        service("one", Sampler::all()),
        service("other", Sampler::all()),
    );
    one.tracer.serve("a", None).run(|| {
        other.tracer.serve("b", None).run(|| {});
        other.tracer.consume("c", None).run(|| {});
    });
    let [a] = one.outbox.take().try_into().unwrap();
    for span in other.outbox.take() {
        assert_eq!(span.parent, None);
        assert_ne!(span.context.trace, a.context.trace);
    }
}

#[test]
fn children_know_their_parent_and_what_is_said_of_them() {
    let kept = service("worker", Sampler::all());
    kept.tracer.resume("task", None).run(|| {
        let child = span!(
            "train",
            "run" = "r7".to_owned(),
            "round" = 3_u32,
            "loss" = 0.5
        );
        let elsewhere = caller(true);
        child.link(elsewhere, "job");
        child.fail("out of data");
        child.run(|| assert_eq!(current().unwrap().name(), "train"));
        assert_eq!(current().unwrap().name(), "task");
    });
    assert!(current().is_none());
    let [train, task] = kept.outbox.take().try_into().unwrap();
    assert_eq!(train.parent, Some(task.context.span));
    assert!(!train.parent_is_remote);
    assert_eq!(train.attributes[0], ("run", Value::Text("r7".to_owned())));
    assert_eq!(train.attributes[1], ("round", Value::Int(3)));
    assert_eq!(train.attributes[2], ("loss", Value::Float(0.5)));
    assert_eq!((train.links.len(), train.links[0].relation), (1, "job"));
    assert_eq!(train.error.as_deref(), Some("out of data"));
}

#[test]
fn a_trace_that_is_not_kept_computes_nothing_and_travels_on() {
    let kept = service("worker", Sampler::all());
    let caller = caller(false);
    kept.tracer.consume("task", Some(&caller)).run(|| {
        let span = span!("train", "run" = unreachable_text());
        assert!(!span.is_kept());
        span.run(|| {
            let told = current_context().unwrap();
            assert_eq!(
                (told.trace, told.span, told.sampled),
                (caller.trace, caller.span, false)
            );
            assert_eq!(kept_here(), None);
        });
    });
    assert!(kept.outbox.take().is_empty());
}

fn unreachable_text() -> String {
    panic!("computed for nobody")
}

#[test]
fn without_a_place_to_go_nothing_is_kept() {
    let tracer = Tracer::new("worker", Sampler::all(), None);
    tracer.consume("task", Some(&caller(true))).run(|| {
        assert!(!span!("train").is_kept());
        // Others may keep it.
        assert!(current_context().unwrap().sampled);
    });
}

#[test]
fn what_goes_on_all_the_time_is_kept_by_nobody() {
    let (worker, other) = (
        service("worker", Sampler::all()),
        service("other", Sampler::all()),
    );
    worker.tracer.aside("lease", None).run(|| {
        assert!(!span!("ask").is_kept());
        let told = current_context().unwrap();
        assert!(!other.tracer.serve("Lease", Some(&told)).is_kept());
    });
}

#[test]
fn outside_of_any_trace_a_span_is_nothing() {
    let span = span!("alone");
    assert!(!span.is_kept() && span.context().is_none());
}

#[tokio::test]
async fn a_future_is_in_its_span_whenever_it_runs() {
    let kept = service("worker", Sampler::all());
    let name = || current().map(|scope| scope.name());
    let one = kept.tracer.resume("one", None);
    let other = kept.tracer.resume("other", None);
    let look = async |expected| {
        for _ in 0..3 {
            assert_eq!(name(), Some(expected));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(look("one").in_span(one), look("other").in_span(other));
    assert_eq!(name(), None);
    assert_eq!(kept.outbox.take().len(), 2);
}

#[tokio::test]
async fn what_is_spawned_stays_in_its_span() {
    let kept = service("worker", Sampler::all());
    let outer = kept.tracer.resume("outer", None);
    let context = outer.context().unwrap();
    async {
        let spawned = async { span!("inner").run(|| {}) };
        tokio::spawn(spawned.in_current()).await.unwrap();
    }
    .in_span(outer)
    .await;
    let [inner, _outer] = kept.outbox.take().try_into().unwrap();
    assert_eq!(inner.parent, Some(context.span));
}

#[test]
fn a_panic_ends_the_span_and_leaves_the_place() {
    let kept = service("worker", Sampler::all());
    let broken = std::panic::catch_unwind(|| {
        kept.tracer
            .resume("task", None)
            .run(|| panic!("as planned"));
    });
    assert!(broken.is_err() && current().is_none());
    assert_eq!(kept.outbox.take().len(), 1);
}
