//! Holds alerts, their tests and their runbooks together.
//!
//! Each alert says how urgent it is, whose it is and what it is about; it has a runbook, and a test
//! in which it fires and stays silent. Its query names only what somebody exports. Whether a query
//! is right is promtool's to say, in `scripts/alert-test.sh`.

mod exported;
mod faster;
mod queries;
mod routes;
mod rules;
mod runbooks;
mod tested;

use std::path::Path;

use anyhow::{Context, bail};

use exported::Exported;
use rules::{Alert, RuleFile};

pub(crate) use faster::write as write_faster;

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];
const TEAMS: [&str; 3] = ["training", "platform", "data"];

/// What an alert can be about; Alertmanager routes by it.
const COMPONENTS: [&str; 11] = [
    "orchestrator",
    "compute-core",
    "training-worker",
    "federation",
    "queue",
    "database",
    "artifacts",
    "host",
    "container",
    "telemetry",
    "monitoring",
];

/// A component by the job, for alerts on several services.
const BY_JOB: &str = r#"{{ reReplaceAll "^pangea-" "" $labels.job }}"#;

/// Dashboards by the ends of their addresses.
const DASHBOARDS: [&str; 9] = [
    "pangea-metrics",
    "pangea-training",
    "pangea-federation",
    "pangea-database",
    "pangea-infrastructure",
    "pangea-golden-signals",
    "pangea-slo",
    "pangea-capacity",
    "pangea-telemetry",
];
const GRAFANA: &str = "http://localhost:3000/d/";

/// The file name of an alert's runbook, without its ending: `AIServiceDown` → `ai-service-down`.
pub(crate) fn runbook_of(alert: &str) -> String {
    let letters: Vec<char> = alert.chars().collect();
    let mut name = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && letters[at - 1].is_lowercase();
        let before_small = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && at > 0 && (after_small || before_small) {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// Fails with everything that is wrong.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let files = rules::read(root).context("read the rules")?;
    let exported = Exported::read(root)?;
    let alerts: Vec<&Alert> = files.iter().flat_map(RuleFile::alerts).collect();

    let mut problems = Vec::new();
    for alert in &alerts {
        let found = [labelled(alert), annotated(alert)].concat();
        problems.extend(
            found
                .into_iter()
                .map(|what| format!("{}: {what}", alert.name)),
        );
    }
    for file in &files {
        for (name, query) in file.queries() {
            let found = queries::problems(query, &exported);
            problems.extend(found.into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    let names = alerts.iter().map(|alert| alert.name.as_str()).collect();
    problems.extend(tested::problems(root, &names)?);
    problems.extend(tested::left_out_of_idle(root, &files)?);
    problems.extend(runbooks::problems(root, &names, &exported)?);
    problems.extend(routes::problems(root, &names)?);

    for problem in &problems {
        println!("error: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} things are wrong with alerts", problems.len());
    }
    println!(
        "alerts: {} names, each with labels, a runbook and tests",
        names.len()
    );
    Ok(())
}

fn labelled(alert: &Alert) -> Vec<String> {
    let mut problems = Vec::new();
    // Service levels bring team and component with their series.
    let of_a_level = alert.file == rules::LEVELS;
    let mut one_of = |label: &str, values: &[&str], also: Option<&str>| {
        let value = alert.labels.get(label).map(String::as_str);
        let known = value.is_some_and(|value| values.contains(&value) || also == Some(value));
        let comes_with_series = of_a_level && label != "severity";
        if !known && !comes_with_series {
            let values = values.join(", ");
            problems.push(format!(
                "its {label} is {value:?}; expected one of {values}"
            ));
        }
    };
    one_of("severity", &SEVERITIES, None);
    one_of("team", &TEAMS, None);
    one_of("component", &COMPONENTS, Some(BY_JOB));
    problems
}

fn annotated(alert: &Alert) -> Vec<String> {
    let mut problems = Vec::new();
    let text = |name: &str| alert.annotations.get(name).map_or("", String::as_str);
    for name in ["summary", "description"] {
        if text(name).is_empty() {
            problems.push(format!("it has no {name}"));
        }
    }
    let dashboard = text("dashboard");
    let uid = dashboard.strip_prefix(GRAFANA).unwrap_or_default();
    if !DASHBOARDS.contains(&uid) {
        problems.push(format!(
            "{dashboard:?} is no dashboard; expected {GRAFANA}UID"
        ));
    }
    let expected = format!("docs/runbooks/{}.md", runbook_of(&alert.name));
    if text("runbook") != expected {
        let found = text("runbook");
        problems.push(format!("its runbook is {found:?}; expected {expected}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(yaml: &str) -> Alert {
        let mut alert: Alert = serde_yaml_ng::from_str(yaml).unwrap();
        alert.file = "alerts-a.yml".to_owned();
        alert
    }

    const WHOLE: &str = "
alert: QueueBlocked
expr: up == 0
labels: {severity: critical, team: training, component: queue}
annotations:
  summary: Tasks wait
  description: They do.
  dashboard: http://localhost:3000/d/pangea-training
  runbook: docs/runbooks/queue-blocked.md
";

    #[test]
    fn everything_about_the_alerts_of_this_house_is_right() {
        run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    }

    #[test]
    fn a_runbook_is_called_after_its_alert() {
        assert_eq!(runbook_of("QueueBlocked"), "queue-blocked");
        assert_eq!(runbook_of("AIServiceDown"), "ai-service-down");
    }

    #[test]
    fn an_alert_has_labels_from_the_lists() {
        assert_eq!(labelled(&alert(WHOLE)), [""; 0]);
        let other = WHOLE
            .replace("critical", "urgent")
            .replace("queue}", "cue}");
        assert_eq!(labelled(&alert(&other)).len(), 2);
        let none = WHOLE.replace("team: training, ", "");
        assert_eq!(labelled(&alert(&none)).len(), 1);
    }

    #[test]
    fn an_alert_leads_to_its_dashboard_and_its_runbook() {
        assert_eq!(annotated(&alert(WHOLE)), [""; 0]);
        for (right, wrong) in [
            ("d/pangea-training", "d/pangea-cooking"),
            ("queue-blocked.md", "queue-growing.md"),
            ("  summary: Tasks wait\n", ""),
        ] {
            let found = annotated(&alert(&WHOLE.replace(right, wrong)));
            assert_eq!(found.len(), 1, "{wrong}: {found:?}");
        }
    }
}
