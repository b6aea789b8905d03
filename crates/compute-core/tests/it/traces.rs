//! What a trace shows of a training.

use std::sync::Arc;

use federation::local::LocalTraining;
use futures::StreamExt;
use proto::v1::compute_server::Compute;
use proto::v1::{TrainRequest, train_reply};
use telemetry::export::Outbox;
use telemetry::metrics::IntCounter;
use telemetry::trace::{Sampler, SpanRecord, TraceContext, Traced, Tracer, Value};
use tonic::Request;

use crate::core::{Core, MIB, examples, inputs, mlp, parameters, rows, serve, sgd};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CALLER_OF_NOTHING: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Trains inside a span of a call from `caller`. Yields the spans and the delta's bytes.
async fn traced(core: &Core, caller: &str, local: &LocalTraining) -> (Vec<SpanRecord>, Vec<u8>) {
    let model = mlp(6, 4);
    let (base, shard) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    core.engine.hold(&inputs(&base, &shard)).await.unwrap();
    let request = TrainRequest {
        model: Some((&model).into()),
        parameters_digest: base.body.digest.clone(),
        examples_digest: shard.body.digest.clone(),
        local: Some(local.into()),
        seed: 9,
        client: "c3".to_owned(),
        kernel_class: String::new(),
    };
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let outbox = Arc::new(Outbox::new(1000, 1000, dropped));
    let tracer = Tracer::new("compute-core", Sampler::all(), Some(Arc::clone(&outbox)));
    let caller: TraceContext = caller.parse().unwrap();
    let call = core
        .service
        .train(Request::new(request))
        .in_span(tracer.serve("Train", Some(&caller)));
    let replies: Vec<_> = call.await.unwrap().into_inner().collect().await;
    let mut delta = Vec::new();
    for reply in replies {
        if let Ok(Some(train_reply::Part::Data(data))) = reply.map(|reply| reply.part) {
            delta.extend_from_slice(&data);
        }
    }
    (outbox.take(), delta)
}

fn named<'a>(spans: &'a [SpanRecord], name: &str) -> Vec<&'a SpanRecord> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn attribute<'a>(span: &'a SpanRecord, key: &str) -> Option<&'a Value> {
    let known = span.attributes.iter().find(|(name, _)| *name == key);
    known.map(|(_, value)| value)
}

#[tokio::test]
async fn a_training_shows_the_passes_of_its_steps() {
    let core = serve(MIB, 1);
    let (spans, _) = traced(&core, CALLER, &sgd(3, 0.1)).await;
    let ([call], [training]) = (&named(&spans, "Train")[..], &named(&spans, "training")[..]) else {
        panic!("{spans:#?}");
    };
    assert_eq!(training.parent, Some(call.context.span));
    let client = Some(&Value::Text("c3".to_owned()));
    assert_eq!(attribute(training, "agent_id"), client);
    assert_eq!(attribute(training, "num_steps"), Some(&Value::Int(3)));
    let steps = named(&spans, "training_step");
    assert_eq!(steps.len(), 3);
    for (step, number) in steps.iter().zip(1..) {
        assert_eq!(step.parent, Some(training.context.span));
        assert_eq!(attribute(step, "step"), Some(&Value::Int(number)));
        assert_eq!(attribute(step, "agent_id"), client);
        let component = Some(&Value::Word("compute-core"));
        assert_eq!(attribute(step, "component"), component);
        // Thirty rows are a batch of sixteen and one of fourteen.
        let rows = if number == 2 { 14 } else { 16 };
        assert_eq!(attribute(step, "batch_size"), Some(&Value::Int(rows)));
        assert!(matches!(attribute(step, "loss"), Some(Value::Float(loss)) if *loss > 0.0));
        let passes: Vec<_> = spans
            .iter()
            .filter(|span| span.parent == Some(step.context.span))
            .collect();
        let names: Vec<_> = passes.iter().map(|pass| pass.name).collect();
        assert_eq!(names, ["forward_pass", "backward_pass"]);
        assert!(step.started <= passes[0].started && passes[0].ended <= passes[1].started);
        assert!(passes[1].ended <= step.ended);
    }
}

#[tokio::test]
async fn a_long_training_shows_as_few_steps_as_a_short_one() {
    let core = serve(MIB, 1);
    let (spans, _) = traced(&core, CALLER, &sgd(10_000, 0.01)).await;
    let [training] = &named(&spans, "training")[..] else {
        panic!("{} spans", spans.len());
    };
    assert_eq!(attribute(training, "num_steps"), Some(&Value::Int(10_000)));
    let steps = named(&spans, "training_step").len();
    assert!((10..=16).contains(&steps), "{steps}");
    let told = i64::try_from(steps).unwrap();
    assert_eq!(
        attribute(training, "num_step_spans"),
        Some(&Value::Int(told))
    );
    assert_eq!(spans.len(), 2 + 3 * steps);
}

#[tokio::test]
async fn a_training_that_broke_off_says_why() {
    let core = serve(MIB, 1);
    let (spans, _) = traced(&core, CALLER, &sgd(200, 1e30)).await;
    let [training] = &named(&spans, "training")[..] else {
        panic!("{spans:#?}");
    };
    let error = training.error.as_deref().unwrap();
    assert!(error.contains("diverged"), "{error}");
}

#[tokio::test]
async fn looking_on_changes_no_bit() {
    let core = serve(MIB, 1);
    let (shown, delta) = traced(&core, CALLER, &sgd(40, 0.1)).await;
    let (none, same) = traced(&core, CALLER_OF_NOTHING, &sgd(40, 0.1)).await;
    assert!(!shown.is_empty() && none.is_empty() && !delta.is_empty());
    assert_eq!(delta, same);
}
