//! What the export thread says, to a subscriber of the whole process.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry::config::environment::Otlp;
use telemetry::export::sink::{Answer, Sink};
use telemetry::export::{ExportMetrics, Exporter, Resource, is_export_thread};
use telemetry::metrics::Registry;
use telemetry::trace::{Sampler, Tracer};
use tonic::Code;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer};

const PATIENCE: Duration = Duration::from_secs(20);

/// Level and message of each event, and whether it was said where nothing may become a record.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<(String, bool)>>>);

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: Subscriber> Layer<S> for Said {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let said = format!("{} {}", event.metadata().level(), message.0);
        self.lock().push((said, is_export_thread()));
    }
}

impl Said {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::test]
async fn a_collector_that_fails_is_told_once_and_so_is_its_return() {
    let said = Said::default();
    // At the level of debug, connections and requests have much to say too.
    let filter = EnvFilter::new("debug");
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(said.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let sink = Sink::start().unwrap();
    sink.answer(Answer::Refuse(Code::Unavailable));
    let otlp = Otlp {
        endpoint: sink.endpoint(),
        headers: Vec::new(),
        timeout: PATIENCE,
        queue: 100,
        batch: 1,
        delay: Duration::from_millis(1),
    };
    let registry = Registry::new("test").unwrap();
    let metrics = ExportMetrics::register(&registry).unwrap();
    let exporter = Exporter::start(&otlp, Resource::default(), metrics).unwrap();
    let outbox = Some(Arc::clone(&exporter.spans));
    let tracer = Tracer::new("test", Sampler::all(), outbox);
    for _ in 0..5 {
        drop(tracer.serve("work", None));
    }
    sink.until(PATIENCE, |received| received.requests >= 3)
        .await;
    sink.answer(Answer::Accept);
    let received = sink.until(PATIENCE, |received| received.spans.len() == 5);
    assert_eq!(received.await.spans.len(), 5);
    let finish = tokio::task::spawn_blocking(move || exporter.finish(PATIENCE));
    assert!(finish.await.unwrap());

    let said = said.lock().clone();
    let with = |level: &str| {
        let said = said.iter().filter(|(said, _)| said.starts_with(level));
        said.cloned().collect::<Vec<_>>()
    };
    let warning = "WARN the collector cannot be reached; traces and logs wait for it";
    assert_eq!(with("WARN"), [(warning.to_owned(), true)]);
    assert_eq!(
        with("INFO"),
        [("INFO the collector answers again".to_owned(), true)]
    );
    assert_eq!(with("ERROR"), []);
    assert!(!is_export_thread());
}
