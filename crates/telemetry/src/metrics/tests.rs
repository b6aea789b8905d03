use super::*;

const STATES: [&str; 2] = ["empty", "full"];

crate::metrics! {
    /// The metrics of a kitchen.
    struct Kitchen {
        /// Pots on the
        /// fire.
        pub pots: IntGauge = "kitchen_pots", aka: ["kitchen_kettles"], rows: "S0-1 S2-3";
        /// Time from order to plate, in seconds.
        pub cooking: HistogramVec = "kitchen_cooking_duration_seconds" {dish, cook},
            buckets: [0.5, 60.0];
        /// Plates, by how they came back.
        pub plates: Each<IntCounter> = "kitchen_plates_total" {state in STATES};
        /// Guests at each table.
        pub guests: LivingIntGauge = "kitchen_guests" {table};
    }
}

fn kitchen() -> (Registry, Kitchen) {
    let registry = Registry::new("kitchen").unwrap();
    let metrics = Kitchen::register(&registry).unwrap();
    (registry, metrics)
}

fn text(registry: &Registry) -> String {
    exposition::text(&registry.snapshot()).unwrap()
}

fn has(registry: &Registry, line: &str) -> bool {
    let text = text(registry);
    text.lines().any(|own| own == line)
}

#[test]
fn a_declaration_is_handle_help_and_catalogue_in_one() {
    let (registry, metrics) = kitchen();
    metrics.pots.set(3);
    assert!(has(&registry, "# HELP kitchen_pots Pots on the fire."));
    assert!(has(&registry, "kitchen_pots 3"));
    let [pots, cooking, ..] = Kitchen::FAMILIES else {
        panic!("{:?}", Kitchen::FAMILIES)
    };
    assert_eq!(
        (pots.kind, pots.unit(), pots.rows),
        (Kind::Gauge, Unit::Count, "S0-1 S2-3")
    );
    assert_eq!((pots.field, pots.crate_name), ("pots", "telemetry"));
    assert_eq!(
        (cooking.kind, cooking.unit()),
        (Kind::Histogram, Unit::Seconds)
    );
    assert_eq!(cooking.buckets, [0.5, 60.0]);
    assert!(
        registry
            .families()
            .iter()
            .any(|family| family.name == "kitchen_guests")
    );
}

#[test]
fn the_same_numbers_stand_under_their_other_names() {
    let (registry, metrics) = kitchen();
    metrics.pots.set(2);
    assert!(has(&registry, "kitchen_kettles 2"));
}

#[test]
fn a_closed_set_is_there_from_the_start() {
    let (registry, metrics) = kitchen();
    metrics.plates.of("full").inc();
    assert!(has(&registry, "kitchen_plates_total{state=\"empty\"} 0"));
    assert!(has(&registry, "kitchen_plates_total{state=\"full\"} 1"));
}

#[test]
fn a_series_lives_as_long_as_its_holders() {
    let (registry, metrics) = kitchen();
    let one = metrics.guests.of("window");
    let other = metrics.guests.of("window");
    one.set(4);
    drop(one);
    assert!(has(&registry, "kitchen_guests{table=\"window\"} 4"));
    drop(other);
    assert!(!text(&registry).contains("kitchen_guests{"));
}

#[test]
fn what_comes_after_the_bound_is_called_other_and_counted() {
    let (registry, metrics) = kitchen();
    let held: Vec<_> = (0..10_000)
        .map(|table| metrics.guests.of(&format!("table-{table}")))
        .collect();
    for series in &held {
        series.inc();
    }
    let text = text(&registry);
    assert_eq!(text.matches("kitchen_guests{").count(), 201);
    assert!(text.contains("kitchen_guests{table=\"__other__\"} 9800"));
    assert!(text.contains("telemetry_label_overflow_total{metric=\"kitchen_guests\"} 9800"));
    drop(held);
    assert!(has(&registry, "# TYPE kitchen_pots gauge"));
    let again = metrics.guests.of("another");
    again.set(1);
    assert!(has(&registry, "kitchen_guests{table=\"another\"} 1"));
}

#[test]
fn an_absurd_name_is_called_other() {
    let bounded = Registry::new("kitchen")
        .unwrap()
        .bounded("kitchen_guests", 8);
    assert_eq!(bounded.admit(&"x".repeat(10_000)), OTHER);
    assert_eq!(bounded.admit(""), OTHER);
    assert_eq!(bounded.admit("window"), "window");
}

#[test]
fn gauges_are_brought_up_to_date_before_a_scrape() {
    let (registry, metrics) = kitchen();
    let pots = metrics.pots;
    registry.on_scrape(move || pots.inc());
    assert!(has(&registry, "kitchen_pots 1"));
    assert!(has(&registry, "kitchen_pots 2"));
}

#[test]
fn a_name_is_taken_once() {
    let (registry, _metrics) = kitchen();
    assert!(Kitchen::register(&registry).is_err());
}

#[test]
fn the_build_says_what_is_running() {
    let (registry, _metrics) = kitchen();
    let line = format!(
        "pangea_build_info{{revision=\"unknown\",service=\"kitchen\",version=\"{VERSION}\"}} 1"
    );
    assert!(has(&registry, &line), "{}", text(&registry));
}

#[test]
fn an_observation_in_a_kept_span_remembers_it() {
    use crate::export::Outbox;
    use crate::trace::{Sampler, Tracer};

    let (registry, metrics) = kitchen();
    let cooking = metrics.cooking.with(&["soup", "ann"]);
    cooking.observe(100.0);
    let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
    let outbox = std::sync::Arc::new(Outbox::new(9, 9, dropped));
    let span = Tracer::new("kitchen", Sampler::all(), Some(outbox)).serve("Order", None);
    let context = span.context().unwrap();
    span.run(|| cooking.observe(0.25));

    let snapshot = registry.snapshot();
    let name = "kitchen_cooking_duration_seconds";
    let family = snapshot
        .families
        .iter()
        .find(|family| family.name() == name);
    let exemplars = snapshot.exemplars(name, &family.unwrap().get_metric()[0]);
    let first = exemplars[0].unwrap();
    assert_eq!(first.trace, context.trace.to_bytes());
    assert!((first.value - 0.25).abs() < f64::EPSILON);
    assert_eq!(exemplars[1..], [None, None]);
}
