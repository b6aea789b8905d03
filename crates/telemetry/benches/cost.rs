//! What telemetry costs: numbers, spans and scrapes, beside the bare `prometheus` crate where it
//! does the same.
//!
//! Prints a table. Two sides of a comparison take turns, and the medians of the turns are compared,
//! so that a machine shared with others favours neither.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use telemetry::export::Outbox;
use telemetry::metrics::exposition::{Format, encode};
use telemetry::metrics::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry,
};
use telemetry::trace::{Sampler, Span, SpanRecord, Tracer};

/// Turns of each side.
const TURNS: usize = 301;

/// Repetitions in a turn of what takes nanoseconds. A turn then takes less than a millisecond, and
/// most are over before the machine gives the processor to somebody else.
const REPEATS: u32 = 5_000;

/// Spans of a turn, all of which the outbox must hold.
const SPANS: u32 = 1_000;

/// As in the services: ten edges.
const EDGES: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.5, 5.5];

telemetry::metrics! {
    /// What a service of 5,000 series counts.
    struct Metrics {
        /// Calls.
        pub calls: IntCounter = "bench_calls_total";
        /// Time, in seconds.
        pub time: Histogram = "bench_time_seconds", buckets: EDGES;
        /// 1,000 series.
        pub by_method: IntCounterVec = "bench_requests_total" {method, status};
        /// 1,000 series.
        pub by_worker: IntGaugeVec = "bench_tasks" {agent};
        /// 231 times 13 series.
        pub by_endpoint: HistogramVec = "bench_request_duration_seconds" {endpoint},
            buckets: EDGES;
    }
}

fn main() {
    let registry = Registry::new("bench").expect("a registry");
    let metrics = Metrics::register(&registry).expect("metrics");
    println!(
        "{:<44} {:>10} {:>10} {:>8}  target",
        "what", "ours", "bare", ""
    );
    counters(&metrics);
    histograms(&metrics);
    spans();
    scrapes(&registry, &metrics);
}

fn counters(metrics: &Metrics) {
    let bare = prometheus::IntCounter::new("bare_total", "Bare.").expect("a counter");
    let [ours, bare] = nanoseconds(REPEATS, &mut |_| metrics.calls.inc(), &mut |_| bare.inc());
    ratio("counter: inc", ours, bare);
}

fn histograms(metrics: &Metrics) {
    let options = prometheus::HistogramOpts::new("bare_seconds", "Bare.").buckets(EDGES.to_vec());
    let bare = prometheus::Histogram::with_opts(options).expect("a histogram");
    let [ours, bare] = nanoseconds(
        REPEATS,
        &mut |turn| metrics.time.observe(value(turn)),
        &mut |turn| bare.observe(value(turn)),
    );
    ratio("histogram: observe", ours, bare);

    let (span, _outbox) = kept();
    let scope = span.scope().expect("a kept span");
    let [with, without] = turns(
        || {
            scope
                .clone()
                .run(|| time(REPEATS, &mut |turn| metrics.time.observe(value(turn))))
        },
        || time(REPEATS, &mut |turn| metrics.time.observe(value(turn))),
    );
    println!(
        "{:<44} {with:>7.1} ns {without:>7.1} ns {:>+5.1} ns  <= 30 ns more",
        "histogram: observe, with an exemplar",
        with - without
    );
}

fn spans() {
    let step = &mut |turn: u32| drop(black_box(telemetry::span!("step", "number" = turn)));
    alone(
        "span!: outside of any trace",
        time_median(|| time(REPEATS, step)),
        "<= 150 ns",
    );

    let unkept = Tracer::new("bench", Sampler::none(), None).serve("Bench", None);
    let scope = unkept.scope().expect("a place, even if it is not kept");
    let inside = time_median(|| scope.clone().run(|| time(REPEATS, step)));
    alone("span!: in a trace that is not kept", inside, "<= 150 ns");

    let (span, outbox) = kept();
    let scope = span.scope().expect("a kept span");
    let end_to_end = time_median(|| {
        let spent = scope.clone().run(|| time(SPANS, step));
        assert_eq!(outbox.take().len(), SPANS as usize, "a span is lost");
        spent
    });
    alone("span!: kept, from begin to outbox", end_to_end, "");
}

fn scrapes(registry: &Registry, metrics: &Metrics) {
    let (span, _outbox) = kept();
    span.run(|| fill(metrics));
    let series = encode(&registry.snapshot(), Format::Text).expect("text");
    let series = series.lines().filter(|line| !line.starts_with('#')).count();
    let snapshot = time_median(|| time(1, &mut |_| drop(black_box(registry.snapshot()))));
    alone(&format!("snapshot of {series} series"), snapshot, "");
    for (name, format) in [("text", Format::Text), ("OpenMetrics", Format::OpenMetrics)] {
        let taken = registry.snapshot();
        let encoding = &mut |_| drop(black_box(encode(&taken, format)));
        alone(
            &format!("{name}: encode"),
            time_median(|| time(1, encoding)),
            "",
        );
        let both = &mut |_| drop(black_box(encode(&registry.snapshot(), format)));
        let both = time_median(|| time(1, both));
        alone(&format!("{name}: snapshot and encode"), both, "< 5 ms");
    }
}

/// Makes 5,000 series, each of which has numbers.
fn fill(metrics: &Metrics) {
    for method in 0..100 {
        let method = format!("pangea.v1.Service/Method{method}");
        for status in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] {
            metrics
                .by_method
                .with_label_values(&[&method[..], status])
                .inc_by(12_345);
        }
    }
    for worker in 0..1_000 {
        let gauge = metrics
            .by_worker
            .with_label_values(&[&format!("worker-{worker}")]);
        gauge.set(worker);
    }
    for endpoint in 0..231 {
        let endpoint = format!("/api/v1/things/{{thing}}/{endpoint}");
        let histogram = metrics.by_endpoint.with(&[&endpoint]);
        for turn in 0..20 {
            histogram.observe(value(turn));
        }
    }
}

/// A kept span and the outbox to which it and its children go.
fn kept() -> (Span, Arc<Outbox<SpanRecord>>) {
    let dropped = IntCounter::new("dropped_total", "Dropped.").expect("a counter");
    let room = SPANS as usize + 1;
    let outbox = Arc::new(Outbox::new(room, room, dropped));
    let tracer = Tracer::new("bench", Sampler::all(), Some(Arc::clone(&outbox)));
    (tracer.serve("Bench", None), outbox)
}

/// One for every bucket in turn.
fn value(turn: u32) -> f64 {
    [
        0.0007, 0.003, 0.007, 0.02, 0.03, 0.07, 0.2, 0.3, 0.7, 2.0, 7.0,
    ][turn as usize % 11]
}

/// Nanoseconds of one repetition.
fn time(repeats: u32, act: &mut impl FnMut(u32)) -> f64 {
    let started = Instant::now();
    for turn in 0..repeats {
        act(black_box(turn));
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(repeats)
}

/// Medians of both sides, which take turns.
fn turns(mut one: impl FnMut() -> f64, mut other: impl FnMut() -> f64) -> [f64; 2] {
    let (mut ones, mut others) = (vec![], vec![]);
    for turn in 0..TURNS {
        if turn % 2 == 0 {
            ones.push(one());
            others.push(other());
        } else {
            others.push(other());
            ones.push(one());
        }
    }
    [median(ones), median(others)]
}

fn nanoseconds(repeats: u32, one: &mut impl FnMut(u32), other: &mut impl FnMut(u32)) -> [f64; 2] {
    turns(|| time(repeats, one), || time(repeats, other))
}

fn time_median(mut turn: impl FnMut() -> f64) -> f64 {
    median((0..TURNS).map(|_| turn()).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ratio(what: &str, ours: f64, bare: f64) {
    println!(
        "{what:<44} {ours:>7.1} ns {bare:>7.1} ns {:>8.2}  <= 1.1",
        ours / bare
    );
}

fn alone(what: &str, nanoseconds: f64, target: &str) {
    let (number, unit) = if nanoseconds < 1e5 {
        (nanoseconds, "ns")
    } else {
        (nanoseconds / 1e6, "ms")
    };
    println!(
        "{what:<44} {number:>7.1} {unit} {:>10} {:>8}  {target}",
        "", ""
    );
}
