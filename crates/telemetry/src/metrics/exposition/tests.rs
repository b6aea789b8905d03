use std::sync::Arc;

use super::*;
use crate::export::Outbox;
use crate::metrics::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};
use crate::trace::{Sampler, TraceContext, Tracer};

/// Of Prometheus 3.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

crate::metrics! {
    /// The metrics of a kitchen.
    struct Kitchen {
        /// Bread in the oven, in bytes.
        pub bread: Gauge = "kitchen_bread_bytes";
        /// Chairs, "all" of them.
        pub chairs: IntGauge = "kitchen_chairs_total";
        /// Time from order to plate, in seconds.
        pub cooking: HistogramVec = "kitchen_cooking_duration_seconds" {dish},
            buckets: [0.5, 60.0], aka: ["kitchen_stove_seconds"];
        /// Guests who are there.
        pub guests: IntGauge = "kitchen_guests";
        /// Guests who ever came.
        pub guests_ever: IntCounter = "kitchen_guests_total";
        /// Plates, by what they carried.
        pub plates: IntCounterVec = "kitchen_plates_total" {dish, cook};
        /// Calls of the bell.
        pub rings: IntCounter = "kitchen_rings";
        /// Time at the stove, in seconds.
        pub stove: prometheus::Counter = "kitchen_stove_busy_seconds_total";
    }
}

/// Everything but what every registry has.
fn own(text: &str) -> String {
    let theirs = ["pangea_build_info", "telemetry_"];
    let is_own = |line: &&str| !theirs.iter().any(|name| line.contains(name));
    text.lines()
        .filter(is_own)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn open_metrics_has_the_lines_of_the_specification() {
    let registry = Registry::new("kitchen").unwrap();
    let kitchen = Kitchen::register(&registry).unwrap();
    kitchen.bread.set(1_500_000.0);
    kitchen.chairs.set(6);
    kitchen.guests.set(2);
    kitchen.guests_ever.inc_by(9);
    kitchen
        .plates
        .with_label_values(&["fish & \"chips\"", "a\\b\nc"])
        .inc();
    kitchen.rings.inc();
    kitchen.stove.inc_by(0.25);
    let soup = kitchen.cooking.with(&["soup"]);
    soup.observe(0.5);

    let outbox = Arc::new(Outbox::new(
        9,
        9,
        IntCounter::new("dropped", "Dropped.").unwrap(),
    ));
    let caller: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        .parse()
        .unwrap();
    let span = Tracer::new("kitchen", Sampler::all(), Some(outbox)).serve("Order", Some(&caller));
    let id = span.context().unwrap().span;
    span.run(|| soup.observe(75.5));

    let text = encode(&registry.snapshot(), Format::OpenMetrics).unwrap();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let expected = include_str!("tests/openmetrics.txt").replace("SPAN", &id.to_string());
    assert_eq!(own(&text), expected);
}

#[test]
fn text_has_the_same_series_under_the_same_names() {
    let registry = Registry::new("kitchen").unwrap();
    let kitchen = Kitchen::register(&registry).unwrap();
    kitchen.plates.with_label_values(&["soup", "ann"]).inc();
    kitchen.cooking.with(&["soup"]).observe(7.0);
    let series = |format| -> Vec<String> {
        let text = encode(&registry.snapshot(), format).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let series = samples.map(|line| line.rsplit_once(' ').unwrap().0.replace(".0\"", "\""));
        series.collect()
    };
    assert!(series(Format::Text).len() > 12);
    assert_eq!(series(Format::Text), series(Format::OpenMetrics));
}

#[test]
fn a_counter_keeps_its_kind_unless_another_family_has_its_name() {
    let registry = Registry::new("kitchen").unwrap();
    for name in ["jobs_total", "jobs_created_total", "wait_seconds_sum_total"] {
        let counter = IntCounter::new(name, "Things.").unwrap();
        registry.collect(Box::new(counter)).unwrap();
    }
    let waits = prometheus::HistogramOpts::new("wait_seconds", "Waits.");
    let waits = prometheus::Histogram::with_opts(waits).unwrap();
    registry.collect(Box::new(waits)).unwrap();
    let text = encode(&registry.snapshot(), Format::OpenMetrics).unwrap();
    for line in [
        "# TYPE jobs_created counter",
        "# TYPE jobs_total unknown",
        "# TYPE wait_seconds histogram",
        "# TYPE wait_seconds_sum_total unknown",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} in {text}");
    }
}

#[test]
fn a_reader_gets_open_metrics_if_it_likes_that_best() {
    let open = [
        PROMETHEUS,
        "application/openmetrics-text",
        "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.3",
        "text/plain;q=0.2, application/openmetrics-text;version=1.0.0;q=0.3",
        "application/openmetrics-text;version=1.0.0, */*",
        "*/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5",
    ];
    for accept in open {
        assert_eq!(
            Format::accepted(Some(accept)),
            Format::OpenMetrics,
            "{accept}"
        );
    }
    let text = [
        "",
        "*/*",
        "text/plain",
        "application/*",
        "text/html, application/json",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=2.0.0, */*;q=0.1",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0.2, text/plain;q=0.3",
        "application/openmetrics-text;q=0.2, text/*;q=0.3",
        "application/openmetrics-text;q=high",
        "application/openmetrics-text;q=NaN",
        ";;;,,q=1",
    ];
    for accept in text {
        assert_eq!(Format::accepted(Some(accept)), Format::Text, "{accept}");
    }
    assert_eq!(Format::accepted(None), Format::Text);
}
