//! A dashboard as Grafana reads it from a file: the classic schema, which file provisioning takes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::description::{Dashboard, Kind, Limits, Panel};
use super::links::{self, From, Link};

/// The last version of the classic schema.
const SCHEMA: u8 = 41;
const COLUMNS: u8 = 24;

/// Colours for good, look at it, and act now.
const GOOD: &str = "green";
const INVESTIGATE: &str = "yellow";
const CRITICAL: &str = "red";

/// What is marked in the graphs of each dashboard: name, colour, query, title, text.
pub(super) const ANNOTATIONS: [[&str; 5]; 3] = [
    [
        "Deployments",
        "blue",
        "count by (service, version, revision) (pangea_build_info) \
         unless count by (service, version, revision) (pangea_build_info offset 2m)",
        "{{service}} {{version}}",
        "now runs revision {{revision}}",
    ],
    [
        "Restarts",
        "purple",
        r#"changes(process_start_time_seconds{job=~"pangea-.+"}[2m]) > 0"#,
        "{{job}} restarted",
        "{{instance}}",
    ],
    [
        "Alerts",
        "red",
        r#"ALERTS{alertstate="firing", severity!="info"}"#,
        "{{alertname}}",
        "{{severity}}, team {{team}}, {{component}}",
    ],
];

/// The dashboard's file.
pub(super) fn file(dashboard: &Dashboard, links: &mut BTreeMap<&str, Vec<Link>>) -> Value {
    json!({
        "annotations": { "list": ANNOTATIONS.map(annotation) },
        "description": dashboard.says,
        "editable": true,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": null,
        "links": links::at_the_top(),
        "panels": panels(dashboard, links),
        "refresh": "10s",
        "schemaVersion": SCHEMA,
        "tags": ["pangea"],
        "templating": { "list": dashboard.variables.iter().map(variable).collect::<Vec<_>>() },
        "time": { "from": format!("now-{}", dashboard.range), "to": "now" },
        "timepicker": {},
        "timezone": "browser",
        "title": dashboard.title,
        "uid": dashboard.uid,
        "version": 1,
        "weekStart": "",
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "prometheus" })
}

fn annotation([name, color, query, title, text]: [&str; 5]) -> Value {
    json!({
        "name": name,
        "datasource": source(),
        "enable": true,
        "hide": false,
        "iconColor": color,
        "expr": query,
        "step": "30s",
        "titleFormat": title,
        "textFormat": text,
        "useValueForTime": false,
    })
}

fn variable((name, query): (&str, &str)) -> Value {
    json!({
        "name": name,
        "label": name,
        "type": "query",
        "datasource": source(),
        "definition": query,
        "query": { "query": query, "refId": "variable" },
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "multi": true,
        "includeAll": true,
        "allValue": ".*",
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "options": [],
        "hide": 0,
        "skipUrlSync": false,
    })
}

/// Panels flow from left to right, each row of the description under its heading.
fn panels(dashboard: &Dashboard, links: &mut BTreeMap<&str, Vec<Link>>) -> Vec<Value> {
    let mut made = Vec::new();
    let mut top = 0_u16;
    for row in &dashboard.rows {
        let at = json!({ "x": 0, "y": top, "w": COLUMNS, "h": 1 });
        made.push(json!({
            "id": made.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": at,
            "panels": [],
        }));
        top += 1;
        let (mut left, mut tallest) = (0_u8, 0_u8);
        for panel in &row.panels {
            if left + panel.width() > COLUMNS {
                top += u16::from(tallest);
                (left, tallest) = (0, 0);
            }
            let at = json!({ "x": left, "y": top, "w": panel.width(), "h": panel.height() });
            let links = links.remove(panel.title.as_str()).unwrap_or_default();
            made.push(panel_at(panel, made.len() + 1, &at, links));
            left += panel.width();
            tallest = tallest.max(panel.height());
        }
        top += u16::from(tallest);
    }
    made
}

fn panel_at(panel: &Panel, id: usize, at: &Value, links: Vec<Link>) -> Value {
    let (of_panel, of_series): (Vec<Link>, Vec<Link>) =
        links.into_iter().partition(|link| link.from == From::Panel);
    let json = |links: Vec<Link>| links.into_iter().map(|link| link.json).collect::<Vec<_>>();
    let mut value = json!({
        "id": id,
        "title": panel.title,
        "description": panel.says,
        "gridPos": at,
        "links": json(of_panel),
    });
    if panel.kind == Kind::Alerts {
        value["type"] = json!("alertlist");
        value["options"] = alerts();
        return value;
    }
    value["datasource"] = source();
    value["targets"] = targets(panel).into();
    let (kind, options, custom) = match panel.kind {
        Kind::Stat => ("stat", stat(panel), json!({})),
        Kind::Bars => ("bargauge", bars(), json!({})),
        Kind::Table => (
            "table",
            json!({ "showHeader": true, "cellHeight": "sm" }),
            json!({}),
        ),
        _ => ("timeseries", lines(), drawn(panel)),
    };
    value["type"] = json!(kind);
    value["options"] = options;
    if panel.kind == Kind::Table {
        value["transformations"] = columns(panel);
    }
    let mut defaults = json!({
        "unit": panel.unit,
        "thresholds": { "mode": "absolute", "steps": steps(panel) },
        "color": { "mode": colour(panel) },
        "custom": custom,
        "links": json(of_series),
        "noValue": "no data",
    });
    if let Some(max) = &panel.max {
        (defaults["min"], defaults["max"]) = (json!(0), json!(max));
    }
    value["fieldConfig"] = json!({ "defaults": defaults, "overrides": overrides(panel) });
    value
}

fn targets(panel: &Panel) -> Vec<Value> {
    let target = |(name, (legend, query)): (String, (&str, &str))| {
        let at_once = panel.kind.is_of_now();
        json!({
            "refId": name,
            "datasource": source(),
            "editorMode": "code",
            "expr": query,
            "legendFormat": legend,
            "instant": at_once,
            "range": !at_once,
            "format": if panel.kind == Kind::Table { "table" } else { "time_series" },
            "exemplar": !at_once && query.contains("histogram_quantile"),
        })
    };
    ref_ids().zip(panel.queries.iter()).map(target).collect()
}

/// What Grafana calls the queries of a panel.
fn ref_ids() -> impl Iterator<Item = String> {
    ('A'..='Z').map(String::from)
}

fn has_limits(panel: &Panel) -> bool {
    panel.above.is_some() || panel.below.is_some()
}

/// From which number on which colour holds.
fn steps(panel: &Panel) -> Vec<Value> {
    let step =
        |color: &str, from: Option<&serde_json::Number>| json!({ "color": color, "value": from });
    let mut steps = Vec::new();
    if let Some(Limits {
        investigate,
        critical,
    }) = &panel.above
    {
        steps.push(step(GOOD, None));
        steps.extend(
            investigate
                .as_ref()
                .map(|from| step(INVESTIGATE, Some(from))),
        );
        steps.extend(critical.as_ref().map(|from| step(CRITICAL, Some(from))));
    } else if let Some(Limits {
        investigate,
        critical,
    }) = &panel.below
    {
        // Below the lowest limit it is as bad as that limit says.
        let lowest = if critical.is_some() {
            CRITICAL
        } else {
            INVESTIGATE
        };
        steps.push(step(lowest, None));
        let between = critical.as_ref().map(|from| {
            step(
                if investigate.is_some() {
                    INVESTIGATE
                } else {
                    GOOD
                },
                Some(from),
            )
        });
        steps.extend(between);
        steps.extend(investigate.as_ref().map(|from| step(GOOD, Some(from))));
    } else {
        steps.push(step("text", None));
    }
    steps
}

/// Large numbers are coloured by their limits, lines by their names, alike on all dashboards.
fn colour(panel: &Panel) -> &'static str {
    match panel.kind {
        Kind::Lines | Kind::Stacked => "palette-classic-by-name",
        _ => "thresholds",
    }
}

fn drawn(panel: &Panel) -> Value {
    let stacked = panel.kind == Kind::Stacked;
    json!({
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": if stacked { 40 } else { 8 },
        "showPoints": "auto",
        "spanNulls": false,
        "stacking": { "mode": if stacked { "normal" } else { "none" }, "group": "A" },
        "thresholdsStyle": { "mode": if has_limits(panel) { "dashed" } else { "off" } },
    })
}

fn lines() -> Value {
    json!({
        "legend": {
            "showLegend": true,
            "displayMode": "list",
            "placement": "bottom",
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

fn stat(panel: &Panel) -> Value {
    json!({
        "colorMode": if has_limits(panel) { "background" } else { "value" },
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": true,
        "reduceOptions": last_number(),
    })
}

fn bars() -> Value {
    json!({
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "color",
        "showUnfilled": true,
        "reduceOptions": last_number(),
    })
}

fn last_number() -> Value {
    json!({ "calcs": ["lastNotNull"], "fields": "", "values": false })
}

/// Of a table, the time is that of the dashboard and says nothing. Grafana calls a lone column of
/// numbers `Value`, and several `Value #A`, `Value #B` and so on.
fn columns(panel: &Panel) -> Value {
    let alone = panel.queries.iter().count() == 1;
    let named = |(name, (legend, _)): (String, (&str, &str))| {
        let column = if alone {
            "Value".to_owned()
        } else {
            format!("Value #{name}")
        };
        (column, json!(legend))
    };
    let names: serde_json::Map<String, Value> =
        ref_ids().zip(panel.queries.iter()).map(named).collect();
    let hidden = json!({ "Time": true, "__name__": true });
    json!([
        { "id": "merge", "options": {} },
        { "id": "organize", "options": { "excludeByName": hidden, "renameByName": names } },
    ])
}

/// Of a table with limits, the numbers are coloured and the labels are not.
fn overrides(panel: &Panel) -> Value {
    if panel.kind != Kind::Table || !has_limits(panel) {
        return json!([]);
    }
    let coloured = json!({ "id": "custom.cellOptions", "value": { "type": "color-background" } });
    json!([{ "matcher": { "id": "byType", "options": "number" }, "properties": [coloured] }])
}

fn alerts() -> Value {
    json!({
        "alertInstanceLabelFilter": "",
        "alertName": "",
        "dashboardAlerts": false,
        "datasource": "Prometheus",
        "groupBy": [],
        "groupMode": "default",
        "maxItems": 20,
        "showInactiveAlerts": false,
        "sortOrder": 3,
        "stateFilter": { "error": true, "firing": true, "noData": false, "normal": false, "pending": true },
        "viewMode": "list",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DASHBOARD: &str = "
uid: pangea-oven
title: Oven
says: What the oven does.
range: 1h
rows:
  - title: First
    panels:
      - {title: A, kind: stat, unit: s, says: A., width: 20, queries: {a: a}}
      - {title: B, kind: lines, unit: s, says: B., width: 5, below: {investigate: 0.9, critical: 0.8}, queries: {b: histogram_quantile(b), c: c}}
  - title: Second
    panels:
      - {title: C, kind: table, unit: s, says: C., above: {critical: 3}, queries: {c: c}}
";

    fn panels() -> Vec<Value> {
        let dashboard: Dashboard = serde_yaml_ng::from_str(DASHBOARD).unwrap();
        let file = file(&dashboard, &mut BTreeMap::new());
        file["panels"].as_array().unwrap().clone()
    }

    #[test]
    fn panels_flow_into_the_next_line_and_rows_stand_apart() {
        let place = |panel: &Value| {
            let at = &panel["gridPos"];
            [&at["x"], &at["y"], &at["w"], &at["h"]].map(|number| number.as_u64().unwrap())
        };
        let places: Vec<_> = panels().iter().map(place).collect();
        let expected = [
            [0, 0, 24, 1],
            [0, 1, 20, 4],
            [0, 5, 5, 8],
            [0, 13, 24, 1],
            [0, 14, 12, 8],
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn limits_become_colours_from_the_lowest_number_up() {
        let steps = |panel: usize| {
            let steps = panels()[panel]["fieldConfig"]["defaults"]["thresholds"]["steps"].clone();
            let step =
                |step: &Value| format!("{} {}", step["color"].as_str().unwrap(), step["value"]);
            steps
                .as_array()
                .unwrap()
                .iter()
                .map(step)
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(1), ["text null"]);
        assert_eq!(steps(2), ["red null", "yellow 0.8", "green 0.9"]);
        assert_eq!(steps(4), ["green null", "red 3"]);
    }

    #[test]
    fn quantiles_over_time_show_exemplars() {
        let panels = panels();
        let exemplars: Vec<_> = panels[2]["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| &target["exemplar"])
            .collect();
        assert_eq!(exemplars, [&json!(true), &json!(false)]);
        assert_eq!(panels[4]["targets"][0]["instant"], json!(true));
    }
}
