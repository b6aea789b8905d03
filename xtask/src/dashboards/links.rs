//! Where a panel leads: to another dashboard, to logs in Loki, to traces in Jaeger.
//!
//! A link is a few words: the uid of a dashboard; `logs SERVICE` or `traces SERVICE`, for what
//! failed there; `logs of {{LABEL}}` or `traces of {{LABEL}}`, for the run in that label of the
//! series that was clicked.

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};

const SERVICES: [&str; 3] = [
    "pangea-orchestrator",
    "pangea-compute-core",
    "pangea-training-worker",
];

/// What a link is clicked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Panel,
    Series,
}

/// A link as Grafana wants it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) from: From,
    /// The label of the series that the link names.
    pub(super) label: Option<String>,
    pub(super) json: Value,
}

/// Reads the words of one link. `titles` are those of all dashboards, by uid.
pub(super) fn link(words: &str, titles: &BTreeMap<String, String>) -> anyhow::Result<Link> {
    if let Some(title) = titles.get(words) {
        let url = format!("/d/{words}?${{__url_time_range}}&${{__all_variables}}");
        return Ok(of_panel(title, &url, false));
    }
    let (what, rest) = words.split_once(' ').ok_or_else(|| {
        let known = titles.keys().cloned().collect::<Vec<_>>().join(", ");
        anyhow!("the link {words} leads to no dashboard; there are: {known}")
    })?;
    let label = rest
        .strip_prefix("of {{")
        .and_then(|rest| rest.strip_suffix("}}"));
    match (what, label) {
        ("logs" | "traces", None) if !SERVICES.contains(&rest) => {
            bail!(
                "the link {words} names no service; there are: {}",
                SERVICES.join(", ")
            )
        }
        ("logs", None) => Ok(of_panel(
            &format!("Warnings and errors: {rest}"),
            &logs(rest),
            true,
        )),
        ("traces", None) => Ok(of_panel(
            &format!("Failed traces: {rest}"),
            &failed_traces(rest),
            true,
        )),
        ("logs", Some(label)) => Ok(of_series("Logs of this run", label, logs_of_run)),
        ("traces", Some(label)) => Ok(of_series("Traces of this run", label, traces_of_run)),
        _ => bail!("the link {words} is not understood; see xtask/src/dashboards/links.rs"),
    }
}

/// The links at the top of each dashboard.
pub(super) fn at_the_top() -> Value {
    let explore = |title: &str, icon: &str, url: String| json!({ "title": title, "type": "link", "icon": icon, "url": url, "targetBlank": true });
    json!([
        {
            "title": "Pangea",
            "type": "dashboards",
            "tags": ["pangea"],
            "asDropdown": true,
            "includeVars": true,
            "keepTime": true,
        },
        explore("Logs", "doc", logs("pangea-.+")),
        explore("Traces", "bolt", failed_traces("pangea-orchestrator")),
        explore("Alerts", "bell", "/alerting/list".to_owned()),
    ])
}

fn of_panel(title: &str, url: &str, in_a_new_tab: bool) -> Link {
    let json = json!({ "title": title, "url": url, "targetBlank": in_a_new_tab });
    Link {
        from: From::Panel,
        label: None,
        json,
    }
}

fn of_series(title: &str, label: &str, url: fn(&str) -> String) -> Link {
    let run = format!("${{__field.labels.{label}}}");
    let json = json!({ "title": title, "url": url(&run), "targetBlank": true });
    Link {
        from: From::Series,
        label: Some(label.to_owned()),
        json,
    }
}

fn logs(service: &str) -> String {
    loki(&format!(
        r#"{{service_name=~"{service}"}} | detected_level=~"warn|error|fatal""#
    ))
}

fn logs_of_run(run: &str) -> String {
    loki(&format!(
        r#"{{service_name=~"pangea-.+"}} | json | run="{run}""#
    ))
}

fn failed_traces(service: &str) -> String {
    jaeger(&json!({ "queryType": "search", "service": service, "tags": "error=true", "limit": 20 }))
}

fn traces_of_run(run: &str) -> String {
    let tags = format!("run={run}");
    jaeger(&json!({ "queryType": "search", "service": SERVICES[0], "tags": tags, "limit": 20 }))
}

fn loki(query: &str) -> String {
    explore("loki", &json!({ "expr": query, "queryType": "range" }))
}

fn jaeger(query: &Value) -> String {
    explore("jaeger", query)
}

/// Grafana's page for one query, over the time that the dashboard shows.
fn explore(source: &str, query: &Value) -> String {
    let mut query = query.clone();
    query["refId"] = json!("A");
    query["datasource"] = json!({ "type": source, "uid": source });
    let pane = json!({
        "pane": {
            "datasource": source,
            "queries": [query],
            "range": { "from": "${__from}", "to": "${__to}" },
        }
    });
    let panes = encoded(&super::in_order(pane).to_string());
    format!("/explore?schemaVersion=1&orgId=1&panes={panes}")
}

/// Percent-encoded, but for `${…}`, which Grafana must find to fill in.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("${") {
        let end = rest[begin..]
            .find('}')
            .map_or(rest.len(), |end| begin + end + 1);
        encoded.extend(rest[..begin].bytes().map(encoded_byte));
        encoded.push_str(&rest[begin..end]);
        rest = &rest[end..];
    }
    encoded.extend(rest.bytes().map(encoded_byte));
    encoded
}

fn encoded_byte(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles() -> BTreeMap<String, String> {
        BTreeMap::from([("pangea-oven".to_owned(), "Oven".to_owned())])
    }

    #[test]
    fn a_uid_leads_to_its_dashboard_with_time_and_variables() {
        let link = link("pangea-oven", &titles()).unwrap();
        assert_eq!(link.json["title"], "Oven");
        assert_eq!(
            link.json["url"],
            "/d/pangea-oven?${__url_time_range}&${__all_variables}"
        );
    }

    #[test]
    fn a_link_to_nowhere_names_what_there_is() {
        let said = |words| link(words, &titles()).unwrap_err().to_string();
        assert_eq!(
            said("pangea-ovn"),
            "the link pangea-ovn leads to no dashboard; there are: pangea-oven"
        );
        assert!(
            said("logs oven")
                .starts_with("the link logs oven names no service; there are: pangea-")
        );
    }

    #[test]
    fn what_grafana_fills_in_is_left_as_it_is() {
        assert_eq!(
            encoded(r#"{"from":"${__from}"}"#),
            "%7B%22from%22%3A%22${__from}%22%7D"
        );
        let link = link("logs of {{run}}", &titles()).unwrap();
        assert_eq!(link.label.as_deref(), Some("run"));
        assert!(
            link.json["url"]
                .as_str()
                .unwrap()
                .contains("${__field.labels.run}")
        );
    }
}
