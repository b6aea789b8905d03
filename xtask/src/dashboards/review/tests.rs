use super::*;

const DASHBOARD: &str = "
uid: pangea-oven
title: Oven
says: What the oven does.
range: 1h
variables:
  shelf: label_values(plates_total, shelf)
rows:
  - title: Plates
    panels:
      - title: Plates by shelf
        kind: lines
        unit: ops
        says: Plates that come out.
        above: {investigate: 1, critical: 2}
        links: [pangea-oven, 'logs of {{shelf}}']
        queries:
          '{{shelf}}': sum by (shelf) (rate(plates_total{shelf=~\"$shelf\"}[$__rate_interval]))
";

const EXPORTERS: &str = "
oven:
  plates_total: counter count shelf
  pangea_build_info: gauge count service version revision
  process_start_time_seconds: gauge seconds
  ALERTS: gauge count alertname alertstate severity team component
";

fn reviewed(yaml: &str) -> anyhow::Result<()> {
    let mut catalogue = Catalogue::default();
    // Annotations ask about jobs of ours by a pattern, which any job fits.
    catalogue.add_exporters(EXPORTERS)?;
    let dashboards: Vec<Dashboard> = vec![serde_yaml_ng::from_str(yaml)?];
    review(&dashboards, &catalogue).map(|_| ())
}

#[track_caller]
fn refused(from: &str, to: &str, because: &str) {
    assert!(DASHBOARD.contains(from), "{from} is not in the example");
    let told = format!("{:#}", reviewed(&DASHBOARD.replace(from, to)).unwrap_err());
    assert!(told.contains(because), "{told}");
}

#[test]
fn a_dashboard_in_order_passes() {
    reviewed(DASHBOARD).unwrap();
}

#[test]
fn a_fault_is_told_with_its_dashboard_and_panel() {
    let told = "dashboard Oven: panel \"Plates by shelf\": sum by (shelf) (rate(plate_total{shelf=~\"$shelf\"}\
                [$__rate_interval])): no metric is called plate_total; the nearest is plates_total";
    refused("(plates_total{", "(plate_total{", told);
}

#[test]
fn what_a_panel_says_fits_its_query() {
    refused(
        "unit: ops",
        "unit: s",
        "s shows seconds, and the query yields a count per second",
    );
    refused(
        "unit: ops",
        "unit: ms",
        "ms does not show numbers as they are exported",
    );
    refused(
        "'{{shelf}}': sum",
        "'{{cook}}': sum",
        "names cook, which its series do not have",
    );
    refused(
        "logs of {{shelf}}",
        "logs of {{run}}",
        "a link names the label run",
    );
    refused(
        "says: Plates that come out.",
        "says: Plates",
        "sentences that end with a stop",
    );
    refused(
        "[pangea-oven,",
        "[pangea-stove,",
        "the link pangea-stove leads to no dashboard",
    );
}

#[test]
fn variables_are_declared_and_used() {
    refused(
        r#"=~"$shelf"}"#,
        r#"=~"$cook"}"#,
        "$cook is no variable of this dashboard",
    );
    refused(
        r#"{shelf=~"$shelf"}"#,
        "",
        "no query uses the variable shelf",
    );
    refused(
        "label_values(plates_total, shelf)",
        "label_values(plates_total, cook)",
        "has no label cook",
    );
    refused(
        "label_values(plates_total, shelf)",
        "plates_total",
        "expected label_values(selector, label)",
    );
}

#[test]
fn limits_rise_where_more_is_worse() {
    refused(
        "above:",
        "below:",
        "critical (2) must be below investigate (1)",
    );
    refused(
        "{investigate: 1, critical: 2}",
        "{}",
        "limits need investigate or critical",
    );
}

#[test]
fn a_metric_of_ours_is_on_a_dashboard_or_says_why_not() {
    let mut catalogue = Catalogue::default();
    catalogue.add_exporters(EXPORTERS).unwrap();
    let page = "| `plates_total` | counter | count | `shelf`: … | Plates. | orchestrator |  |\n\
                | `heat_bytes` | gauge | bytes |  | Heat. Also as `warmth_bytes`. | orchestrator |  |";
    catalogue.add_ours(page).unwrap();
    let dashboards: Vec<Dashboard> = vec![serde_yaml_ng::from_str(DASHBOARD).unwrap()];
    let told = |unshown: &[&str]| {
        let unshown = unshown
            .iter()
            .map(|name| ((*name).to_owned(), String::new()))
            .collect();
        review_coverage(&dashboards, &catalogue, &unshown).map_err(|error| error.to_string())
    };
    assert!(
        told(&[])
            .unwrap_err()
            .starts_with("no dashboard shows heat_bytes; add a panel")
    );
    assert_eq!(told(&["heat_bytes"]), Ok(()));
    let superfluous = told(&["heat_bytes", "plates_total"]).unwrap_err();
    assert!(superfluous.starts_with("grafana/unshown.yaml names plates_total"));
}
