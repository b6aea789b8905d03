use super::*;

const OURS: &str = "\
| name | type | unit | labels | what it says | shown by | rows |
|---|---|---|---|---|---|---|
| `plates_total` | counter | count | `shelf`: top, low; `cook`: … | Plates. | orchestrator |  |
| `heat_seconds` | histogram | seconds | `shelf`: top, low | Heat. Buckets: 0.1, 0.5. | orchestrator |  |
| `oven_bytes` | gauge | bytes | `job`: … | Size. Also as `oven_size`, `stove_bytes`. | every process |  |
";

const EXPORTERS: &str = "
node-exporter:
  node_load: gauge count
  node_memory_bytes: gauge bytes
every target:
  up: gauge count
";

fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    catalogue.add_ours(OURS).unwrap();
    catalogue.add_exporters(EXPORTERS).unwrap();
    catalogue
}

fn shape(query: &str) -> Shape {
    check(query, &catalogue(), Rigour::Panel).unwrap_or_else(|fault| panic!("{query}: {fault}"))
}

fn labels(query: &str) -> String {
    match shape(query).labels {
        Labels::Any => "any".to_owned(),
        Labels::These(labels) => labels.into_iter().collect::<Vec<_>>().join(" "),
    }
}

fn unit(query: &str) -> String {
    shape(query).unit.unwrap().to_string()
}

#[track_caller]
fn refused(query: &str, because: &str) {
    let fault = check(query, &catalogue(), Rigour::Panel)
        .unwrap_err()
        .to_string();
    assert!(fault.contains(because), "{query}: {fault}");
}

#[test]
fn a_name_that_is_nearly_right_is_told_the_right_one() {
    refused(
        "rate(plate_total[5m])",
        "no metric is called plate_total; the nearest is plates_total",
    );
    refused("oven_bites", "the nearest is oven_bytes");
    refused(
        r#"rate(plates_total{shelve="top"}[5m])"#,
        "no label shelve; the nearest is shelf",
    );
    refused(
        r#"rate(plates_total{shelf="tip"}[5m])"#,
        "shelf of plates_total is never tip; the nearest is top",
    );
    refused(
        r#"rate(plates_total{shelf=~"low|tip"}[5m])"#,
        "is never tip",
    );
    refused(
        r#"rate(plates_total{job="node-exporter"}[5m])"#,
        "job of plates_total is never node-exporter",
    );
    refused(
        "sum by (shelve) (rate(plates_total[5m]))",
        "no label shelve here; the nearest is shelf",
    );
    refused(
        "sum by (cook) (sum by (shelf) (rate(plates_total[5m])))",
        "no label cook here",
    );
    refused("sum(", "does not parse");
}

#[test]
fn every_name_of_a_metric_is_known() {
    for query in [
        "oven_bytes",
        "oven_size",
        "stove_bytes",
        "up",
        r#"up{job=~"$job"}"#,
        r#"{__name__=~"oven_s.+"}"#,
    ] {
        shape(query);
    }
    refused(r#"{__name__=~"over.+"}"#, "a pattern that one fits");
}

#[test]
fn a_label_that_the_scrape_sets_too_has_another_name() {
    assert_eq!(labels("oven_bytes"), "exported_job instance job");
    refused(
        r#"oven_bytes{job="some run"}"#,
        "job of oven_bytes is never some run",
    );
}

#[test]
fn counters_go_through_rate_and_gauges_do_not() {
    refused("plates_total", "plates_total is a counter");
    refused(
        "max_over_time(plates_total[5m])",
        "only rate() and increase() say anything",
    );
    refused(
        "rate(node_load[5m])",
        "node_load is a gauge; rate() is for counters",
    );
    refused("heat_seconds", "is a histogram; take heat_seconds_bucket");
    refused("plates_total[5m]", "a range is there without a function");
    shape("deriv(node_load[5m])");
    shape("max_over_time(rate(plates_total[5m])[1h:1m])");
}

#[test]
fn a_quantile_is_of_a_rate_of_buckets_and_not_of_nothing() {
    let quantile = "histogram_quantile(0.95, sum by (le, shelf) (rate(heat_seconds_bucket[5m])))";
    refused(quantile, "compare the quantile with `>= 0`");
    let quantile = format!("{quantile} >= 0");
    assert_eq!(labels(&quantile), "shelf");
    assert_eq!(unit(&quantile), "seconds");
    for wrong in [
        "sum by (shelf) (rate(heat_seconds_bucket[5m]))",
        "sum by (le) (rate(plates_total[5m]))",
    ] {
        let query = format!("histogram_quantile(0.95, {wrong}) >= 0");
        assert!(
            check(&query, &catalogue(), Rigour::Panel).is_err(),
            "{query}"
        );
    }
}

#[test]
fn an_edge_is_stored_alike_by_all_versions() {
    refused(
        r#"sum(rate(heat_seconds_bucket{le="2"}[5m]))"#,
        "is a whole number",
    );
    refused(
        r#"sum(rate(heat_seconds_bucket{le="2.0"}[5m]))"#,
        "is a whole number",
    );
    shape(r#"sum(rate(heat_seconds_bucket{le="0.5"}[5m]))"#);
    shape(r#"sum(rate(heat_seconds_bucket{le="+Inf"}[5m]))"#);
}

#[test]
fn a_divisor_cannot_be_zero() {
    let rate = "sum(rate(plates_total[5m]))";
    refused(&format!("{rate} / {rate}"), "divides by what may be 0");
    refused(
        &format!("{rate} / ({rate} >= 0)"),
        "divides by what may be 0",
    );
    refused(&format!("{rate} / 0"), "divides by what may be 0");
    refused(
        &format!("{rate} / clamp_min({rate}, 0)"),
        "divides by what may be 0",
    );
    for divisor in [
        format!("({rate} > 0)"),
        format!("clamp_min({rate}, 0.1)"),
        format!("({rate} + {rate} > 0)"),
    ] {
        assert_eq!(unit(&format!("{rate} / {divisor}")), "a count or a share");
    }
    shape(&format!("{rate} / 60"));
}

#[test]
fn a_share_is_not_of_each_series_in_itself() {
    let part = r#"rate(plates_total{shelf="top"}[5m])"#;
    refused(
        &format!("{part} / (rate(plates_total[5m]) > 0)"),
        "each series of plates_total is divided by itself",
    );
}

#[test]
fn two_sides_have_labels_in_common() {
    let by_shelf = "sum by (shelf) (rate(plates_total[5m]))";
    let all = "(sum(rate(plates_total[5m])) > 0)";
    refused(
        &format!("{by_shelf} / {all}"),
        "never match: (shelf) and ()",
    );
    assert_eq!(
        labels(&format!("{by_shelf} / on () group_left () {all}")),
        "shelf"
    );
    assert_eq!(
        labels(&format!("{by_shelf} or 0 * sum(rate(plates_total[5m]))")),
        "shelf"
    );
}

#[test]
fn units_follow_from_what_is_done() {
    for (query, expected) in [
        ("rate(plates_total[5m])", "a count per second"),
        ("increase(plates_total[5m])", "a count or a share"),
        ("rate(heat_seconds_sum[5m])", "a count or a share"),
        ("deriv(oven_bytes[5m])", "bytes per second"),
        (
            "node_memory_bytes / clamp_min(deriv(node_memory_bytes[5m]), 1)",
            "seconds",
        ),
        ("60 * sum(rate(plates_total[5m]))", "a count per second"),
        ("1 - node_load", "a count or a share"),
        ("node_load == bool 1", "a count or a share"),
        ("count(oven_bytes)", "a count or a share"),
    ] {
        assert_eq!(unit(query), expected, "{query}");
    }
    refused(
        "node_memory_bytes + time()",
        "puts bytes and seconds together",
    );
}

#[test]
fn rules_are_held_to_names_alone() {
    let lenient = |query| check(query, &catalogue(), Rigour::Names);
    lenient("plates_total / plates_total").unwrap();
    lenient("plate_total").unwrap_err();
}

#[test]
fn a_query_needs_the_jobs_that_show_its_metrics() {
    let needs = |query| needs_one_of(query, &catalogue());
    assert_eq!(
        needs("node_load + node_memory_bytes"),
        [["node-exporter"], ["node-exporter"]]
    );
    assert_eq!(
        needs("sum(rate(plates_total[5m]))"),
        [["pangea-orchestrator"]]
    );
    assert_eq!(needs("oven_bytes")[0].len(), 3);
    assert_eq!(needs(r#"up{job="loki"}"#), [["loki"]]);
    assert_eq!(needs("up"), [[""; 0]]);
}
