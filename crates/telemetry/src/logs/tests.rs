use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use prometheus::IntCounter;
use serde_json::{Value, json};
use tracing::{debug, error, info, warn};

use super::*;
use crate::trace::{Sampler, Tracer};

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `work` logs, line by line.
fn written(logs: Logs<'_>, terminal: bool, work: impl FnOnce()) -> Vec<String> {
    let paper = Paper::default();
    let writer = paper.clone();
    let writer = BoxMakeWriter::new(move || writer.clone());
    let subscriber = logs.subscriber(writer, terminal).unwrap();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = paper.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn logs(format: LogFormat) -> Logs<'static> {
    Logs {
        format,
        ..Logs::of("kitchen", Output::Stdout)
    }
}

/// The same as objects; none has a key twice.
fn said(work: impl FnOnce()) -> Vec<Value> {
    let lines = written(logs(LogFormat::Json), false, work);
    let read = |line: &String| {
        let object: Value = serde_json::from_str(line).unwrap();
        for key in keys(&object) {
            let times = line.matches(&format!("\"{key}\":")).count();
            assert_eq!(times, 1, "{key} in {line}");
        }
        object
    };
    lines.iter().map(read).collect()
}

fn keys(line: &Value) -> HashSet<&str> {
    line.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn who_speaks_in_a_shared_process_is_known_by_the_crate() {
    let shared = Logs {
        guests: &["pangea-compute-core", "pangea-training-worker"],
        ..logs(LogFormat::Json)
    };
    let lines = written(shared, false, || {
        info!(target: "training_worker::lease", "task leased");
        info!(target: "core", "nobody's");
    });
    assert!(
        lines[0].contains("\"service\":\"pangea-training-worker\""),
        "{lines:?}"
    );
    assert!(!lines[1].contains("pangea-"), "{lines:?}");
}

#[test]
fn a_line_has_these_keys_and_the_events_own_beside_them() {
    let tracer = Tracer::new("pantry", Sampler::none(), None);
    let lines = said(|| {
        let span = tracer.serve("restock", None);
        let place = span.scope().unwrap();
        let context = place.context().clone();
        place.run(|| {
            warn!(run = %"r7", round = 5, accuracy = 0.92, is_final = true, "round completed");
        });
        info!(traceparent = context.traceparent(), "closed");
    });
    let line = &lines[0];
    let expected = [
        "timestamp",
        "level",
        "logger",
        "module",
        "message",
        "function",
        "line",
        "service",
        "trace_id",
        "span_id",
        "run",
        "round",
        "accuracy",
        "is_final",
    ];
    assert_eq!(keys(line), HashSet::from(expected));
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["logger"], "telemetry::logs::tests");
    assert_eq!(line["module"], "telemetry::logs::tests");
    assert_eq!(line["message"], "round completed");
    assert_eq!(line["function"], "restock");
    assert!(line["line"].as_u64().unwrap() > 0);
    assert_eq!(line["service"], "pantry");
    assert_eq!(line["run"], "r7");
    assert_eq!(line["round"], 5);
    assert_eq!(line["accuracy"], 0.92);
    assert_eq!(line["is_final"], true);
    // The trace is not kept, and its lines belong together all the same.
    let (trace, span) = (
        line["trace_id"].as_str().unwrap(),
        line["span_id"].as_str().unwrap(),
    );
    assert_eq!(lines[1]["traceparent"], format!("00-{trace}-{span}-00"));
}

#[test]
fn a_line_outside_of_any_trace_says_who_and_not_where() {
    let lines = said(|| info!("ready"));
    let expected = [
        "timestamp",
        "level",
        "logger",
        "module",
        "message",
        "function",
        "line",
        "service",
    ];
    assert_eq!(keys(&lines[0]), HashSet::from(expected));
    assert_eq!(lines[0]["service"], "kitchen");
    assert_eq!(lines[0]["function"], "");
}

#[test]
fn the_time_is_utc_to_the_microsecond() {
    let lines = said(|| info!("ready"));
    let timestamp = lines[0]["timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2024-01-15T10:30:00.000000Z".len());
    assert!(timestamp.ends_with('Z'), "{timestamp}");
    assert!(humantime::parse_rfc3339(timestamp).is_ok(), "{timestamp}");
}

#[test]
fn no_key_comes_twice() {
    let lines = said(|| {
        info!(
            service = "other",
            level = 3,
            line = "a",
            timestamp = 0,
            trace_id = "x",
            round = 1,
            round = 2,
            "mixed"
        );
    });
    let line = &lines[0];
    assert_eq!(line["service"], "kitchen");
    assert_eq!(line["event_service"], "other");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["event_level"], 3);
    assert_eq!(line["event_trace_id"], "x");
    assert_eq!(line["round"], 2);
}

#[test]
fn a_line_is_json_whatever_is_said() {
    let lines = said(|| {
        info!(
            loss = f64::NAN,
            norm = f64::INFINITY,
            accuracy = 0.92_f32,
            third = 1.0 / 3.0,
            bytes = u64::MAX,
            text = "two\nlines \"quoted\" \u{1b}[2J \u{0}",
            "strange"
        );
        info!(r#type = "loop");
    });
    let line = &lines[0];
    assert_eq!((&line["loss"], &line["norm"]), (&Value::Null, &Value::Null));
    assert_eq!(line["accuracy"], 0.92);
    assert_eq!(line["third"], 1.0 / 3.0);
    assert_eq!(line["bytes"], u64::MAX.to_string());
    assert_eq!(line["text"], "two\nlines \"quoted\" \u{1b}[2J \u{0}");
    assert_eq!(
        (&lines[1]["type"], &lines[1]["message"]),
        (&json!("loop"), &json!(""))
    );
}

#[test]
fn a_text_without_end_is_cut() {
    let lines = said(|| {
        info!(text = "ü".repeat(1 << 20), debug = ?vec![7_u8; 1 << 20], "long");
    });
    for key in ["text", "debug"] {
        let text = lines[0][key].as_str().unwrap();
        assert!(text.len() < 8_200 && text.ends_with('…'), "{}", text.len());
    }
}

#[test]
fn an_error_is_told_with_its_causes() {
    let lines = said(|| {
        let source = io::Error::other("disk is full");
        let error = InstallError::Dir {
            dir: "/logs".into(),
            source,
        };
        error!(error = &error as &dyn std::error::Error, "no logs");
    });
    assert_eq!(
        lines[0]["error"],
        "log directory /logs cannot be written: disk is full"
    );
}

#[test]
fn a_text_line_is_read_at_a_glance() {
    let lines = written(logs(LogFormat::Text), false, || {
        info!(
            round = 3,
            loss = f64::from(0.42_f32),
            worker = "w 1\n",
            "round\x1b[2J completed"
        );
    });
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert_eq!(time.len(), "10:30:00.000Z".len());
    assert_eq!(
        rest,
        r#" INFO kitchen: round\u{1b}[2J completed round=3 loss=0.42 worker="w 1\n""#
    );
}

#[test]
fn a_text_line_below_information_names_its_module() {
    let debug = Logs {
        filter: "debug",
        ..logs(LogFormat::Text)
    };
    let lines = written(debug, false, || debug!("leased"));
    assert!(
        lines[0].ends_with("DEBUG kitchen telemetry::logs::tests: leased"),
        "{lines:?}"
    );
}

#[test]
fn a_terminal_has_colours_and_a_file_none() {
    let coloured = written(logs(LogFormat::Auto), true, || info!("ready"));
    assert!(coloured[0].contains("\x1b[32m INFO\x1b[0m"), "{coloured:?}");
    let plain = written(logs(LogFormat::Auto), false, || info!("ready"));
    assert!(plain[0].starts_with('{'), "{plain:?}");
}

#[test]
fn the_filter_decides_what_is_logged() {
    let wanted = Logs {
        filter: "warn,noisy=error",
        ..logs(LogFormat::Json)
    };
    let lines = written(wanted, false, || {
        info!(target: "quiet", "no");
        warn!(target: "noisy", "no");
        warn!(target: "quiet", "yes");
    });
    assert_eq!(lines.len(), 1);
}

#[test]
fn spans_of_others_are_never_made() {
    let wanted = Logs {
        filter: "trace",
        ..logs(LogFormat::Json)
    };
    let lines = written(wanted, false, || {
        let span = tracing::error_span!("theirs");
        assert!(span.is_disabled());
        span.in_scope(|| debug!("ours"));
    });
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_record_waits_for_the_collector_unless_a_sender_made_it() {
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let outbox = Arc::new(Outbox::new(8, 8, dropped));
    let sent = Logs {
        outbox: Some(Arc::clone(&outbox)),
        ..logs(LogFormat::Json)
    };
    let lines = written(sent, false, || {
        info!(round = 3, "round completed");
        tracing::dispatcher::get_default(|dispatch| {
            let dispatch = dispatch.clone();
            let sender = std::thread::Builder::new().name("sentry-transport".to_owned());
            let sender = sender.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || warn!("collector is away"));
            });
            sender.unwrap().join().unwrap();
        });
    });
    assert_eq!(lines.len(), 2);
    let records = outbox.take();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].message, "round completed");
    assert_eq!(records[0].fields, [("round", crate::trace::Value::Int(3))]);
    assert_eq!(records[0].service, "kitchen");
}

#[test]
fn a_closed_pipe_is_no_reason_to_panic() {
    struct Closed;

    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    let writer = BoxMakeWriter::new(|| Closed);
    let subscriber = logs(LogFormat::Json).subscriber(writer, false).unwrap();
    tracing::subscriber::with_default(subscriber, || error!("nobody listens"));
}

#[test]
fn files_have_json_while_people_read_text() {
    let dir = tempfile::tempdir().unwrap();
    let both = Logs {
        dir: Some(dir.path()),
        ..logs(LogFormat::Text)
    };
    let lines = written(both, false, || error!(round = 3, "round lost"));
    assert!(
        lines[0].ends_with("ERROR kitchen: round lost round=3"),
        "{lines:?}"
    );
    for name in ["combined.log", "error.log"] {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["round"], 3);
    }
}

#[test]
fn a_line_names_the_request_that_it_is_about() {
    let tracer = Tracer::new("kitchen", Sampler::all(), None);
    let [line] = said(|| {
        let span = tracer.serve("Order", None);
        let span = span.on_request(Some("order-7".into()));
        span.run(|| info!(request_id = "mine", "soup"));
    })
    .try_into()
    .unwrap();
    assert_eq!(line["request_id"], "order-7");
}

#[test]
fn a_line_that_cannot_be_written_is_counted() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let lost = IntCounter::new("lost_total", "Lost.").unwrap();
    let logs = Logs {
        lost: Some(lost.clone()),
        ..logs(LogFormat::Json)
    };
    let subscriber = logs.subscriber(BoxMakeWriter::new(|| Full), false).unwrap();
    tracing::subscriber::with_default(subscriber, || info!("soup"));
    assert_eq!(lost.get(), 1);
}
