//! What a service that speaks Sentry's protocol gets to see.
//!
//! One test, as a process has one subscriber, one panic hook and one client.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::Value;
use telemetry::export::Outbox;
use telemetry::logs::{Logs, Output};
use telemetry::metrics::IntCounter;
use telemetry::reports::{Errors, Guard, StartError, start};
use telemetry::trace::{Sampler, Tracer};
use tracing::{debug, error, info, warn};

const LONG: Duration = Duration::from_secs(20);
const SECRET: &str = "correct-horse-battery";

fn errors(address: SocketAddr) -> Errors {
    Errors {
        dsn: format!("http://public-key@{address}/7"),
        send_default_pii: false,
        environment: Some("test".to_owned()),
        release: "pangea@1.2.3".to_owned(),
        service: "kitchen",
        secrets: vec![SECRET.to_owned()],
    }
}

/// A server that hands on each envelope before it answers.
fn sink() -> (SocketAddr, Receiver<String>) {
    async fn take(State(envelopes): State<Sender<String>>, envelope: String) -> &'static str {
        envelopes.send(envelope).unwrap();
        "{}"
    }

    let (sender, received) = channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let routes = Router::new()
                .route("/api/7/envelope/", post(take))
                .with_state(sender);
            axum::serve(listener, routes).await.unwrap();
        });
    });
    (address, received)
}

/// The event of an envelope.
fn event(envelope: &str) -> Value {
    let lines: Vec<Value> = envelope
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let header = lines.iter().position(|line| line["type"] == "event");
    lines[header.unwrap() + 1].clone()
}

fn next(received: &Receiver<String>) -> (Value, String) {
    let envelope = received.recv_timeout(LONG).unwrap();
    (event(&envelope), envelope)
}

#[test]
fn errors_and_panics_are_told_with_their_place_and_without_secrets() {
    nothing_is_told_without_an_address();
    let (address, received) = sink();
    let guard = start(errors(address)).unwrap();
    Logs {
        filter: "off",
        errors: Some(&guard),
        ..Logs::of("kitchen", Output::Stderr)
    }
    .install()
    .unwrap();
    an_error_arrives(&received);
    an_error_outside_of_any_trace_arrives(&received);
    a_kept_span_names_the_report(&received);
    a_panic_arrives_before_the_thread_goes_on(&received);
    nothing_is_told_after_the_end(guard, &received);
    an_address_that_says_nothing_holds_nobody_up();
}

fn nothing_is_told_without_an_address() {
    for dsn in [
        "",
        "key",
        "https://sentry.example/1",
        "ftp://key@host/1",
        "https://key@host/",
    ] {
        let nowhere = Errors {
            dsn: dsn.to_owned(),
            ..errors(([127, 0, 0, 1], 9).into())
        };
        let Err(StartError::Dsn(error)) = start(nowhere) else {
            panic!("{dsn:?} is no address");
        };
        let message = StartError::Dsn(error).to_string();
        assert!(
            message.contains("must be like https://KEY@HOST/PROJECT"),
            "{message}"
        );
        assert!(!message.contains("key@"), "{message}");
    }
}

fn an_error_arrives(received: &Receiver<String>) {
    let tracer = Tracer::new("pantry", Sampler::none(), None);
    let place = tracer.serve("restock", None).scope().unwrap();
    let traceparent = place.context().traceparent();
    thread::spawn(|| warn!(token = "sesame", "said on another thread"))
        .join()
        .unwrap();
    place.run(|| {
        debug!("of no interest");
        info!(
            round = 3,
            url = format!("http://ann:{SECRET}@db/"),
            "round opened"
        );
        error!(round = 3, password = "xyz", error = %format!("{SECRET} refused"), "round lost");
    });
    let (event, envelope) = next(received);
    assert_eq!(event["message"], "round lost");
    // The protocol leaves out what it takes for granted, the level "error".
    assert_eq!(event["level"], Value::Null);
    assert_eq!(event["logger"], "reports");
    assert_eq!(event["release"], "pangea@1.2.3");
    assert_eq!(event["environment"], "test");
    assert_eq!(event["server_name"], Value::Null);
    let (trace, span) = (&traceparent[3..35], &traceparent[36..52]);
    assert_eq!(event["tags"]["service"], "pantry");
    assert_eq!(event["tags"]["function"], "restock");
    assert_eq!(event["tags"]["trace_id"], trace);
    assert_eq!(event["tags"]["span_id"], span);
    assert_eq!(event["contexts"]["trace"]["trace_id"], trace);
    assert_eq!(event["contexts"]["trace"]["span_id"], span);
    let fields = &event["contexts"]["Rust Tracing Fields"];
    assert_eq!(fields["round"], 3);
    assert_eq!(fields["error"], "[scrubbed] refused");
    assert_eq!(fields["password"], "[scrubbed]");
    let crumbs = event["breadcrumbs"]["values"].as_array().unwrap();
    let messages: Vec<_> = crumbs.iter().map(|crumb| &crumb["message"]).collect();
    assert_eq!(messages, ["said on another thread", "round opened"]);
    assert_eq!(crumbs[1]["data"]["trace_id"], trace);
    assert_eq!(crumbs[1]["data"]["url"], "http://[scrubbed]@db/");
    for secret in [SECRET, "sesame", "xyz"] {
        assert!(!envelope.contains(secret), "{envelope}");
    }
}

fn an_error_outside_of_any_trace_arrives(received: &Receiver<String>) {
    error!(r#type = "odd", "no disk");
    let (event, _) = next(received);
    assert_eq!(event["message"], "no disk");
    assert_eq!(event["tags"]["service"], "kitchen");
    assert_eq!(event["tags"]["trace_id"], Value::Null);
    assert_eq!(event["contexts"]["trace"], Value::Null);
    assert_eq!(
        event["contexts"]["Rust Tracing Fields"]["event_type"],
        "odd"
    );
}

fn a_kept_span_names_the_report(received: &Receiver<String>) {
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let spans = Arc::new(Outbox::new(1, 1, dropped));
    let tracer = Tracer::new("pantry", Sampler::all(), Some(Arc::clone(&spans)));
    tracer
        .serve("restock", None)
        .run(|| error!("the shelf broke"));
    let (event, _) = next(received);
    let [span] = spans.take().try_into().unwrap();
    let named = telemetry::trace::Value::from(event["event_id"].as_str().unwrap().to_owned());
    assert_eq!(span.attributes, [("sentry.event_id", named)]);
}

fn a_panic_arrives_before_the_thread_goes_on(received: &Receiver<String>) {
    let tracer = Tracer::new("pantry", Sampler::none(), None);
    let place = tracer.consume("cook", None).scope().unwrap();
    let trace = place.context().trace.to_string();
    let work = || place.run(|| panic!("burnt with {SECRET}"));
    let caught = thread::spawn(move || catch_unwind(AssertUnwindSafe(work)).is_err());
    assert!(caught.join().unwrap());
    let envelope = received.try_recv().unwrap();
    let event = event(&envelope);
    let panic = &event["exception"]["values"][0];
    assert_eq!(event["level"], "fatal");
    assert_eq!(panic["type"], "panic");
    assert_eq!(panic["value"], "burnt with [scrubbed]");
    assert!(panic["stacktrace"]["frames"].is_array());
    assert_eq!(event["tags"]["service"], "pantry");
    assert_eq!(event["tags"]["trace_id"], trace);
}

fn nothing_is_told_after_the_end(guard: Guard, received: &Receiver<String>) {
    error!("the last one");
    assert!(guard.close(LONG));
    error!("nobody listens");
    let rest: Vec<_> = received
        .try_iter()
        .map(|envelope| event(&envelope))
        .collect();
    let messages: Vec<_> = rest.iter().map(|event| &event["message"]).collect();
    assert_eq!(messages, ["the last one"]);
}

fn an_address_that_says_nothing_holds_nobody_up() {
    // Takes connections, as far as the system does so by itself, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let guard = start(errors(silent.local_addr().unwrap())).unwrap();
    let (done, waited) = channel();
    thread::spawn(move || {
        for _ in 0..100 {
            error!("more than the queue takes");
        }
        assert!(catch_unwind(|| panic!("and a panic")).is_err());
        let was_sent = guard.close(Duration::from_millis(50));
        done.send(was_sent).unwrap();
    });
    let was_sent = waited.recv_timeout(LONG).unwrap();
    assert!(!was_sent);
}
