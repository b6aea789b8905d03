//! What a service counts, as a reader that is not ours sees it: Python's `prometheus_client`.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use telemetry::export::Outbox;
use telemetry::metrics::exposition::{Format, encode};
use telemetry::metrics::{
    Each, Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};
use telemetry::trace::{Sampler, Tracer};

telemetry::metrics! {
    /// Metrics that are hard to read.
    struct Metrics {
        /// A gauge with a counter's name.
        pub parameters: IntGauge = "model_parameters_total", aka: ["model_parameters_count"];
        /// A counter with a gauge's name.
        pub rings: IntCounter = "kitchen_rings";
        /// A counter of something that a gauge counts too.
        pub guests_ever: IntCounter = "kitchen_guests_total";
        /// That gauge.
        pub guests: IntGauge = "kitchen_guests";
        /// Odd values: "quotes", back\slashes.
        pub plates: IntCounterVec = "kitchen_plates_total" {dish};
        /// Every kind of number.
        pub numbers: Each<Gauge> = "kitchen_share_ratio"
            {kind in ["tiny", "huge", "above", "below", "none"]};
        /// Time, in seconds.
        pub cooking: HistogramVec = "kitchen_cooking_duration_seconds" {dish},
            buckets: [0.001, 0.5, 60.0];
    }
}

const ODD: &str = "a \"b\"\\c\nd, {e=\"f\"} # g é";

/// Whether Python has the package.
fn python_can_read(test: &str) -> bool {
    test_tools::runs(test, "python3", &["-c", "import prometheus_client"])
}

/// Numbers of every kind, and the exemplar's labels.
fn counted() -> (Registry, Value) {
    let registry = Registry::new("kitchen").unwrap();
    let metrics = Metrics::register(&registry).unwrap();
    metrics.parameters.set(1_234_567_890);
    metrics.rings.inc_by(3);
    metrics.guests_ever.inc_by(9);
    metrics.guests.set(-2);
    metrics.plates.with_label_values(&[ODD]).inc();
    metrics.plates.with_label_values(&["soup"]).inc_by(7);
    for (kind, value) in [
        ("tiny", 2.5e-10),
        ("huge", 1.5e300),
        ("above", f64::INFINITY),
        ("below", f64::NEG_INFINITY),
    ] {
        metrics.numbers.of(kind).set(value);
    }
    metrics.cooking.with(&["soup"]).observe(0.0001);
    let cooking = metrics.cooking.with(&[ODD]);
    cooking.observe(0.25);

    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let outbox = Arc::new(Outbox::new(9, 9, dropped));
    let span = Tracer::new("kitchen", Sampler::all(), Some(outbox)).serve("Order", None);
    let context = span.context().unwrap();
    span.run(|| {
        cooking.observe(0.375);
        cooking.observe(100.0);
    });
    let ids = json!({
        "trace_id": context.trace.to_string(),
        "span_id": context.span.to_string(),
    });
    (registry, ids)
}

/// What Python reads of both formats.
fn read(registry: &Registry) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = registry.snapshot();
    let mut python = Command::new("python3");
    python.args(["-c", include_str!("readers.py")]);
    for (name, format) in [("text", Format::Text), ("open", Format::OpenMetrics)] {
        let path = folder.path().join(name);
        std::fs::write(&path, encode(&snapshot, format).unwrap()).unwrap();
        python.arg(path);
    }
    let answer = python.output().unwrap();
    let complaint = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{complaint}");
    serde_json::from_slice(&answer.stdout).unwrap()
}

#[test]
fn pythons_prometheus_client_reads_both_formats() {
    if !python_can_read("pythons_prometheus_client_reads_both_formats") {
        return;
    }
    let (registry, ids) = counted();
    let read = read(&registry);
    let open = |name: &str| family(&read["open_metrics"], name);

    for (family, expected) in [
        ("model_parameters_total", "gauge"),
        ("model_parameters_count", "gauge"),
        ("kitchen_rings", "unknown"),
        ("kitchen_guests", "gauge"),
        ("kitchen_guests_total", "unknown"),
        ("kitchen_plates", "counter"),
        ("kitchen_cooking_duration_seconds", "histogram"),
    ] {
        assert_eq!(open(family)["type"], expected, "{family}");
    }
    assert_eq!(open("kitchen_cooking_duration_seconds")["unit"], "seconds");
    assert_eq!(open("kitchen_share_ratio")["unit"], "ratio");
    assert_eq!(
        open("kitchen_plates")["help"],
        "Odd values: \"quotes\", back\\slashes."
    );
    assert_eq!(
        open("kitchen_plates")["samples"][0],
        json!({"name": "kitchen_plates_total", "labels": {"dish": ODD}, "value": "1.0"})
    );
    let exemplars: Vec<_> = open("kitchen_cooking_duration_seconds")["samples"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|sample| sample.get("exemplar").is_some())
        .map(|sample| (&sample["labels"]["le"], &sample["exemplar"]))
        .collect();
    let exemplar = |value: f64| json!({"labels": ids, "value": value});
    assert_eq!(
        exemplars,
        [
            (&json!("0.5"), &exemplar(0.375)),
            (&json!("+Inf"), &exemplar(100.0))
        ]
    );
    // This reader gives every counter of the text format a `_total`.
    let renamed = |sample: String| sample.replace("kitchen_rings\"", "kitchen_rings_total\"");
    let open = samples(&read["open_metrics"]).into_iter().map(renamed);
    assert_eq!(samples(&read["text"]), open.collect::<Vec<_>>());
}

fn family<'a>(families: &'a Value, name: &str) -> &'a Value {
    let mut families = families.as_array().unwrap().iter();
    families.find(|family| family["name"] == name).unwrap()
}

/// All samples, by name; without exemplars, and edges as numbers, which the formats write
/// differently.
fn samples(families: &Value) -> Vec<String> {
    let families = families.as_array().unwrap().iter();
    let samples = families.flat_map(|family| family["samples"].as_array().unwrap());
    let mut samples: Vec<_> = samples
        .map(|sample| {
            let mut labels = sample["labels"].clone();
            if let Some(edge) = labels["le"].as_str() {
                let edge: f64 = edge.parse().unwrap();
                labels["le"] = format!("{edge:e}").into();
            }
            format!("{} {labels} {}", sample["name"], sample["value"])
        })
        .collect();
    samples.sort();
    samples
}
