//! A run as a trace: who caused what, from the submission to the publication.

use std::sync::Arc;
use std::time::Duration;

use federation::RunId;
use federation::job::JobDraft;
use federation::run::RunState;
use orchestrator::trace::ROUNDS_IN_TRACE;
use proto::v1;
use telemetry::trace::{Kind, SpanId, SpanRecord, TraceContext, TraceId, Traced, Value};
use tokio::time::timeout;

use crate::worker::{Leased, Worker};
use crate::world::{PATIENCE, Rules, World, job};

fn caller(sampled: bool) -> TraceContext {
    TraceContext {
        trace: TraceId::random(),
        span: SpanId::random(),
        sampled,
        state: Some("vendor=7".into()),
    }
}

/// Submits as if a call had come in from `caller`.
async fn submit(world: &World, caller: &TraceContext, job: JobDraft) -> RunId {
    let span = world.study.telemetry.tracer.serve("Submit", Some(caller));
    world.submit(job).in_span(span).await
}

/// All spans, once `last` of the name have ended.
async fn spans(world: &World, name: &str, last: usize) -> Vec<SpanRecord> {
    let mut spans: Vec<SpanRecord> = Vec::new();
    let outbox = Arc::clone(&world.outbox);
    let collecting = async {
        loop {
            spans.extend(outbox.take());
            if named(&spans, name).len() >= last {
                return;
            }
            outbox.full_batch().await;
        }
    };
    let collected = timeout(PATIENCE, collecting).await;
    assert!(
        collected.is_ok(),
        "{last} {name:?} are not among {spans:#?}"
    );
    spans
}

fn named<'a>(spans: &'a [SpanRecord], name: &str) -> Vec<&'a SpanRecord> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn value<'a>(span: &'a SpanRecord, key: &str) -> &'a Value {
    let found = span.attributes.iter().find(|(own, _)| *own == key);
    &found
        .unwrap_or_else(|| panic!("{key} is not in {span:#?}"))
        .1
}

fn context_of(leased: &Leased) -> TraceContext {
    let context: TraceContext = leased.attributes["traceparent"].parse().unwrap();
    context.with_state(
        leased
            .attributes
            .get("tracestate")
            .map_or("", String::as_str),
    )
}

/// Works on the next task as a worker in another process; where its report came from.
async fn work(worker: &mut Worker) -> (Leased, TraceContext) {
    let leased = worker.lease().await;
    let here = TraceContext {
        span: SpanId::random(),
        ..context_of(&leased)
    };
    let mut done = worker.train(&leased).await;
    done.trace = Some(v1::TraceContext {
        traceparent: here.traceparent(),
        tracestate: String::new(),
    });
    assert!(worker.report(done).await.accepted);
    worker.acknowledge(&leased).await;
    (leased, here)
}

/// Each acceptance follows from the place that the worker told in its report.
fn reports_are_accepted_where_they_were_sent(
    spans: &[SpanRecord],
    worked: &[(Leased, TraceContext)],
) {
    let accepted = named(spans, "accept update");
    for ((leased, here), accept) in worked.iter().zip(accepted) {
        assert_eq!(
            (accept.kind, accept.parent),
            (Kind::Consumer, Some(here.span))
        );
        assert!(accept.parent_is_remote);
        assert_eq!(value(accept, "worker"), &Value::Text("w".to_owned()));
        let client = leased.id.client.to_string();
        assert_eq!(value(accept, "participant_id"), &Value::Text(client));
        assert_eq!(value(accept, "verdict"), &Value::Word("approved"));
        assert_eq!(value(accept, "attempt"), &Value::Int(1));
        assert_eq!(value(accept, "lease_epoch"), &Value::Int(1));
    }
}

#[tokio::test]
async fn a_run_is_one_trace_from_its_submission_to_its_publication() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let caller = caller(true);
    let job = JobDraft {
        publish_as: Some("m".to_owned()),
        ..job(2, 2)
    };
    let run = submit(&world, &caller, job).await;
    let mut worked = Vec::new();
    for _task in 0..4 {
        worked.push(work(&mut worker).await);
    }
    world.until_state(run, RunState::Completed).await;
    let spans = spans(&world, "publish", 1).await;

    for span in &spans {
        assert_eq!(span.context.trace, caller.trace, "{span:#?}");
        assert_eq!(
            span.context.state.as_deref(),
            (span.kind != Kind::Consumer).then_some("vendor=7")
        );
        assert_eq!(span.error, None, "{span:#?}");
    }
    let [call, submit, admit, publish] =
        ["Submit", "submit", "admit", "publish"].map(|name| named(&spans, name)[0]);
    assert_eq!(call.parent, Some(caller.span));
    assert_eq!(submit.parent, Some(call.context.span));
    assert_eq!(value(submit, "run"), &Value::Text(run.to_string()));
    assert_eq!(admit.parent, Some(submit.context.span));
    assert_eq!(publish.parent, Some(submit.context.span));
    assert_eq!(value(publish, "version"), &Value::Int(1));

    let rounds = named(&spans, "round");
    assert_eq!(rounds.len(), 2);
    for (number, round) in (1..).zip(&rounds) {
        assert_eq!(round.parent, Some(submit.context.span));
        assert_eq!(round.links, []);
        assert_eq!(value(round, "round"), &Value::Int(number));
        assert_eq!(value(round, "cohort"), &Value::Int(2));
        assert_eq!(value(round, "outcome"), &Value::Word("committed"));
    }
    let ended = |name: &str| spans.iter().rposition(|span| span.name == name);
    assert!(ended("round") < ended("publish"), "a commit ends its round");
    for name in ["dispatch", "aggregate", "evaluate", "checkpoint"] {
        let parts = named(&spans, name);
        let parents: Vec<_> = parts.iter().map(|part| part.parent).collect();
        // The initial model has a checkpoint too.
        let initial = (name == "checkpoint").then_some(&admit);
        let expected: Vec<_> = initial
            .into_iter()
            .chain(&rounds)
            .map(|cause| Some(cause.context.span))
            .collect();
        assert_eq!(parents, expected, "{name}");
    }
    let told: Vec<_> = worked
        .iter()
        .map(|(leased, _)| context_of(leased))
        .collect();
    let sent = named(&spans, "dispatch");
    let sent: Vec<_> = [0, 0, 1, 1]
        .map(|round: usize| sent[round].context.clone())
        .into();
    assert_eq!(told, sent, "tasks say where they come from");
    reports_are_accepted_where_they_were_sent(&spans, &worked);
}

#[tokio::test]
async fn later_rounds_are_in_traces_of_their_own_that_know_the_job() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let caller = caller(true);
    let rounds = ROUNDS_IN_TRACE + 2;
    let run = submit(&world, &caller, job(1, rounds)).await;
    worker.work_on(rounds as usize).await;
    world.until_state(run, RunState::Completed).await;
    let spans = spans(&world, "round", rounds as usize).await;
    let submit = named(&spans, "submit")[0].context.clone();
    let (early, late): (Vec<_>, Vec<_>) = named(&spans, "round")
        .into_iter()
        .partition(|round| round.context.trace == caller.trace);
    assert_eq!((early.len(), late.len()), (ROUNDS_IN_TRACE as usize, 2));
    let block = named(&spans, "rounds")[0];
    assert_eq!(
        (block.parent, block.links[0].to.clone()),
        (None, submit.clone())
    );
    for round in late {
        assert_eq!(round.context.trace, block.context.trace);
        assert_eq!(round.parent, Some(block.context.span));
        let [link] = &round.links[..] else {
            panic!("{round:#?}");
        };
        assert_eq!((&link.to, link.relation), (&submit, "job"));
    }
}

#[tokio::test]
async fn a_run_goes_on_in_its_trace_after_a_restart() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let caller = caller(true);
    let run = submit(&world, &caller, job(2, 1)).await;
    worker.work_on(1).await;
    let world = world.restart(&[]).await;
    let mut worker = Worker::connect(&world, "w").await;
    let leased = worker.lease().await;
    assert_eq!(context_of(&leased).trace, caller.trace);
    let done = worker.train(&leased).await;
    assert!(worker.report(done).await.accepted);
    world.until_state(run, RunState::Completed).await;
    let spans = spans(&world, "round", 2).await;
    let submit = named(&spans, "submit")[0];
    let resumed = named(&spans, "round")[1];
    assert_eq!(resumed.parent, Some(submit.context.span));
    assert_eq!(value(resumed, "resumed"), &Value::Bool(true));
    let aggregate = named(&spans, "aggregate")[0];
    assert_eq!(aggregate.parent, Some(resumed.context.span));
}

#[tokio::test]
async fn what_is_not_kept_is_followed_all_the_same() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let caller = caller(false);
    let run = submit(&world, &caller, job(1, ROUNDS_IN_TRACE + 1)).await;
    for _round in 0..ROUNDS_IN_TRACE {
        let (leased, _) = work(&mut worker).await;
        let told = context_of(&leased);
        assert_eq!((told.trace, told.sampled), (caller.trace, false));
    }
    let (leased, _) = work(&mut worker).await;
    assert!(!context_of(&leased).sampled);
    world.until_state(run, RunState::Completed).await;
    world.until_shown(&["collab_active_sessions 0"]).await;
    assert_eq!(world.outbox.take(), []);
}

#[tokio::test]
async fn a_place_that_does_not_read_is_counted_and_means_nothing() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = submit(&world, &caller(true), job(1, 1)).await;
    let leased = worker.lease().await;
    let mut done = worker.train(&leased).await;
    done.trace = Some(v1::TraceContext {
        traceparent: "nonsense".to_owned(),
        tracestate: String::new(),
    });
    assert!(worker.report(done).await.accepted);
    world.until_state(run, RunState::Completed).await;
    let spans = spans(&world, "accept update", 1).await;
    assert_eq!(named(&spans, "accept update")[0].parent, None);
    let line = "telemetry_bad_input_total{kind=\"traceparent\"} 1";
    world.until_shown(&[line]).await;
}

#[tokio::test]
async fn a_queue_without_room_leaves_one_span_of_the_tasks_that_waited_for_it() {
    let world = World::new(Rules {
        queue: 2,
        interval: Duration::from_millis(5),
        ..Rules::default()
    })
    .await;
    let mut worker = Worker::connect(&world, "w").await;
    let first = submit(&world, &caller(true), job(2, 1)).await;
    let leased = [worker.lease().await, worker.lease().await];
    let caller = caller(true);
    let second = submit(&world, &caller, job(2, 1)).await;
    // Only one that runs sends tasks; then it tries over and over.
    world.until_state(second, RunState::Running).await;
    tries(&world, 10).await;
    for leased in &leased {
        let done = worker.train(leased).await;
        assert!(worker.report(done).await.accepted);
        worker.acknowledge(leased).await;
    }
    world.until_state(first, RunState::Completed).await;
    for _task in 0..2 {
        let (leased, _) = work(&mut worker).await;
        assert_eq!(context_of(&leased).trace, caller.trace);
    }
    world.until_state(second, RunState::Completed).await;
    let spans = spans(&world, "round", 2).await;
    let sent: Vec<_> = named(&spans, "dispatch")
        .iter()
        .map(|span| value(span, "sent"))
        .collect();
    assert_eq!(sent, [&Value::Int(2), &Value::Int(2)]);
}

/// Waits until drivers have looked at their runs so many times.
async fn tries(world: &World, count: u32) {
    let looked = || {
        let text = world.numbers();
        let series = "db_query_total{model=\"run\",operation=\"select\"} ";
        let number = text.lines().find_map(|line| line.strip_prefix(series));
        number.map_or(0, |number| number.parse::<u32>().unwrap())
    };
    let enough = looked() + count;
    let looking = async {
        while looked() < enough {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap();
}

#[tokio::test]
async fn a_step_that_stalls_for_long_leaves_few_spans() {
    let world = World::new(Rules::default()).await;
    let mut worker = Worker::connect(&world, "w").await;
    let run = submit(&world, &caller(true), job(1, 1)).await;
    let away = "CREATE TRIGGER away BEFORE UPDATE ON rounds WHEN NEW.phase = 'committed'
                BEGIN SELECT RAISE(FAIL, 'the disk is full'); END";
    world.sql(&[away]).await;
    worker.work_on(1).await;
    let stalls = "pangea_stalls_total{waiting_for=\"run store\"} 5";
    world.until_shown(&[stalls]).await;
    world.sql(&["DROP TRIGGER away"]).await;
    world.until_state(run, RunState::Completed).await;
    let spans = spans(&world, "round", 1).await;
    let [_initial, checkpoint] = named(&spans, "checkpoint")[..] else {
        panic!("{spans:#?}");
    };
    let told = checkpoint.error.as_ref();
    assert!(told.is_some_and(|error| error.contains("disk is full")));
    // Then the run is admitted again, until what was written is noted.
    let tries = named(&spans, "admit");
    assert!((4..=6).contains(&tries.len()), "{}", tries.len());
}
