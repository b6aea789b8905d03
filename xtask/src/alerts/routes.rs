//! Whether Alertmanager's routes name alerts, teams, components and severities that exist. Whether
//! they lead where they should is amtool's to say, in `scripts/alert-test.sh`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{COMPONENTS, SEVERITIES, TEAMS};

const CONFIG: &str = "infra/alertmanager/alertmanager.yml";

/// What is wrong with the matchers of the configuration.
pub(super) fn problems(root: &Path, alerts: &BTreeSet<&str>) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(root.join(CONFIG)).with_context(|| format!("read {CONFIG}"))?;
    let found = unknown(&text, alerts);
    Ok(found
        .into_iter()
        .map(|what| format!("{CONFIG}: {what}"))
        .collect())
}

/// Matchers are in single quotes: `'team="data"'`, `'alertname=~"A|B"'`.
fn unknown(config: &str, alerts: &BTreeSet<&str>) -> Vec<String> {
    let matchers = config.split('\'').skip(1).step_by(2);
    let pairs = matchers.filter_map(|matcher| {
        let (label, values) = matcher.split_once(['=', '!'])?;
        Some((label, values.trim_matches(['=', '~', '"'])))
    });
    let exists = |label: &str, value: &str| match label {
        "alertname" => alerts.contains(value),
        "severity" => SEVERITIES.contains(&value),
        "team" => TEAMS.contains(&value),
        "component" => COMPONENTS.contains(&value),
        _ => true,
    };
    pairs
        .flat_map(|(label, values)| values.split('|').map(move |value| (label, value)))
        .filter(|(label, value)| !exists(label, value))
        .map(|(label, value)| format!("no alert has {label}={value:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_to_what_does_not_exist_is_found() {
        let alerts = BTreeSet::from(["A", "B"]);
        let config = r#"matchers: ['alertname=~"A|B"', 'team="data"', 'waiting_for="x"']"#;
        assert_eq!(unknown(config, &alerts), [""; 0]);
        let config = r#"matchers: ['alertname=~"A|C"', 'team!="database"']"#;
        assert_eq!(unknown(config, &alerts).len(), 2);
    }
}
