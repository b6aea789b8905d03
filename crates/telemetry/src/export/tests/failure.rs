//! What happens when the collector does not take what is sent, and at the end.

use super::*;

use std::io::{Read, Write};
use std::net::TcpListener;

use tokio::time::Instant;
use tonic::Code;

use crate::export::sink::Answer;

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
async fn a_collector_that_comes_late_gets_what_waited() {
    let (_port, address) = dead();
    let house = started(&otlp(&format!("http://{address}")));
    house.put_spans(15);
    house.exporter.logs.put(log("o", "first words".to_owned()));
    let failures = house.metrics.failures.clone();
    at_last(|| failures.of("traces").get() > 0 && failures.of("logs").get() > 0).await;
    let sink = Sink::start_at(address).unwrap();
    all_of(&sink, 15, 1).await;
    assert_eq!(house.dropped_spans(), 0);
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_everything_once() {
    let (_port, address) = dead();
    let sink = Sink::start_at(address).unwrap();
    let house = started(&otlp(&sink.endpoint()));
    let (exported, failures) = (
        house.metrics.exported.of("traces").clone(),
        house.metrics.failures.of("traces").clone(),
    );
    house.put_spans(3);
    // What is not confirmed would be sent again.
    at_last(|| exported.get() == 3).await;
    drop(sink);
    house.put_spans(30);
    at_last(|| failures.get() > 0).await;
    let sink = Sink::start_at(address).unwrap();
    all_of(&sink, 30, 0).await;
    let (all, metrics) = house.finish(PATIENCE).await;
    assert!(all);
    assert_eq!(sink.received().spans.len(), 30);
    assert_eq!(metrics.exported.of("traces").get(), 33);
    assert_eq!(metrics.spans_dropped.get(), 0);
}

#[tokio::test]
async fn a_collector_that_comes_back_in_the_end_is_not_too_late() {
    let (_port, address) = dead();
    let house = started(&otlp(&format!("http://{address}")));
    house.put_spans(3);
    let failures = house.metrics.failures.of("traces").clone();
    let finish = tokio::spawn(house.finish(PATIENCE));
    let before = failures.get();
    at_last(|| failures.get() > before + 1).await;
    let sink = Sink::start_at(address).unwrap();
    all_of(&sink, 3, 0).await;
    assert!(finish.await.unwrap().0);
}

#[tokio::test]
async fn a_connection_that_breaks_loses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let house = started(&otlp(&format!("http://{address}")));
    house.put_spans(3);
    let failures = house.metrics.failures.of("traces").clone();
    let break_off = tokio::task::spawn_blocking(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.read_exact(&mut [0; 100]).unwrap();
        connection
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    break_off.await.unwrap();
    at_last(|| failures.get() > 0).await;
    let sink = Sink::start_at(address).unwrap();
    all_of(&sink, 3, 0).await;
    assert_eq!(house.dropped_spans(), 0);
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
    let (_port, address) = dead();
    let house = started(&otlp(&format!("http://{address}")));
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
    let (_port, address) = dead();
    let house = started(&otlp(&format!("http://{address}")));
    house.put_spans(3);
    let outbox = Arc::clone(&house.exporter.spans);
    drop(house.exporter);
    at_last(|| Arc::strong_count(&outbox) == 1).await;
    assert_eq!(house.metrics.spans_dropped.get(), 3);
}

#[tokio::test]
async fn more_than_fits_is_dropped_and_counted() {
    let (_port, address) = dead();
    let house = started(&otlp(&format!("http://{address}")));
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
