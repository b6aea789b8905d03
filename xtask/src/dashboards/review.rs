//! Reads the descriptions as a reviewer would, and names the panel that is not right.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow, bail, ensure};

use super::catalogue::Catalogue;
use super::description::{Dashboard, Kind, Limits, Panel};
use super::grafana::ANNOTATIONS;
use super::links::{From, Link, link};
use super::query::{FILLED, Labels, Rigour, Shape, check, series_in};
use super::unit::Unit;

/// By uid and title of the panel.
pub(super) type Links<'a> = BTreeMap<String, BTreeMap<&'a str, Vec<Link>>>;

/// Refuses the first panel that is not right; otherwise gives the links of each.
pub(super) fn review<'a>(
    dashboards: &'a [Dashboard],
    catalogue: &Catalogue,
) -> anyhow::Result<Links<'a>> {
    let mut titles = BTreeMap::new();
    for Dashboard { uid, title, .. } in dashboards {
        if titles.insert(uid.clone(), title.clone()).is_some() {
            bail!("two dashboards have the uid {uid}");
        }
    }
    for [name, _, query, title, text] in ANNOTATIONS {
        let shape = check(query, catalogue, Rigour::Names);
        let shape = shape.with_context(|| format!("read the query of the annotation {name}"))?;
        check_legend(&format!("{title} {text}"), &shape.labels)
            .with_context(|| format!("read the text of the annotation {name}"))?;
    }
    let of = |dashboard: &'a Dashboard| {
        let links = review_dashboard(dashboard, catalogue, &titles)
            .with_context(|| format!("dashboard {}", dashboard.title))?;
        Ok((dashboard.uid.clone(), links))
    };
    dashboards.iter().map(of).collect()
}

/// Refuses metrics of ours that no dashboard shows, and reasons for those that one does show.
/// `unshown` are the names of those that need not be shown.
pub(super) fn review_coverage(
    dashboards: &[Dashboard],
    catalogue: &Catalogue,
    unshown: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let panels = dashboards
        .iter()
        .flat_map(|dashboard| &dashboard.rows)
        .flat_map(|row| &row.panels);
    let queries = panels.flat_map(|panel| panel.queries.iter().map(|(_, query)| query));
    let annotations = ANNOTATIONS.into_iter().map(|[_, _, query, ..]| query);
    let shown = queries
        .chain(annotations)
        .flat_map(|query| series_in(query, catalogue))
        .collect();
    let missing: BTreeSet<&str> = catalogue.ours_not_in(&shown).collect();
    if let Some(name) = missing.iter().find(|name| !unshown.contains_key(**name)) {
        bail!("no dashboard shows {name}; add a panel, or say why none in grafana/unshown.yaml");
    }
    match unshown.keys().find(|name| !missing.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            bail!("grafana/unshown.yaml names {name}, which a dashboard shows or nobody exports")
        }
    }
}

fn review_dashboard<'a>(
    dashboard: &'a Dashboard,
    catalogue: &Catalogue,
    titles: &BTreeMap<String, String>,
) -> anyhow::Result<BTreeMap<&'a str, Vec<Link>>> {
    ensure_sentence(&dashboard.says)?;
    let mut declared = BTreeSet::new();
    for (name, query) in dashboard.variables.iter() {
        check_variable(query, catalogue, &declared).with_context(|| format!("variable {name}"))?;
        declared.insert(name);
    }

    let mut used = BTreeSet::new();
    let mut links = BTreeMap::new();
    for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
        let of_panel = review_panel(panel, catalogue, &declared, titles)
            .with_context(|| format!("panel {:?}", panel.title))?;
        used.extend(
            panel
                .queries
                .iter()
                .flat_map(|(_, query)| variables_in(query)),
        );
        if links.insert(panel.title.as_str(), of_panel).is_some() {
            bail!("two panels are called {:?}", panel.title);
        }
    }
    used.extend(
        dashboard
            .variables
            .iter()
            .flat_map(|(_, query)| variables_in(query)),
    );
    match declared.into_iter().find(|name| !used.contains(name)) {
        None => Ok(links),
        Some(name) => bail!("no query uses the variable {name}"),
    }
}

fn review_panel(
    panel: &Panel,
    catalogue: &Catalogue,
    variables: &BTreeSet<&str>,
    titles: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<Link>> {
    ensure_sentence(&panel.says)?;
    for (limits, rising) in [(&panel.above, true), (&panel.below, false)] {
        limits
            .iter()
            .try_for_each(|limits| check_limits(limits, rising))?;
    }
    ensure!(
        panel.above.is_none() || panel.below.is_none(),
        "it is bad above or below, not both"
    );

    let mut labels = Vec::new();
    for (legend, query) in panel.queries.iter() {
        let shape = check(query, catalogue, Rigour::Panel).with_context(|| query.to_owned())?;
        check_unit(panel, &shape).with_context(|| query.to_owned())?;
        check_legend(legend, &shape.labels)?;
        if let Some(name) = variables_in(query).find(|name| !variables.contains(name)) {
            bail!("${name} is no variable of this dashboard");
        }
        labels.push(shape.labels);
    }
    ensure!(
        (panel.kind == Kind::Alerts) == labels.is_empty(),
        "a panel has queries, and a list of alerts has none"
    );

    let links: Vec<Link> = panel
        .links
        .iter()
        .map(|words| link(words, titles))
        .collect::<Result<_, _>>()?;
    for link in links.iter().filter(|link| link.from == From::Series) {
        let label = link.label.as_deref().unwrap_or_default();
        if !labels.iter().all(|labels| labels.has(label)) {
            bail!("a link names the label {label}, which its series do not have");
        }
    }
    Ok(links)
}

fn ensure_sentence(says: &str) -> anyhow::Result<()> {
    let ends = says.trim_end().ends_with('.');
    ensure!(
        ends,
        "what it says must be sentences that end with a stop: {says:?}"
    );
    Ok(())
}

fn check_limits(limits: &Limits, rising: bool) -> anyhow::Result<()> {
    let number =
        |limit: &Option<serde_json::Number>| limit.as_ref().and_then(|limit| limit.as_f64());
    match (number(&limits.investigate), number(&limits.critical)) {
        (None, None) => bail!("limits need investigate or critical"),
        (Some(investigate), Some(critical)) if (critical > investigate) != rising => {
            let where_ = if rising { "above" } else { "below" };
            bail!("critical ({critical}) must be {where_} investigate ({investigate})")
        }
        _ => Ok(()),
    }
}

fn check_unit(panel: &Panel, shape: &Shape) -> anyhow::Result<()> {
    let id = panel
        .unit
        .as_deref()
        .context("a panel with queries needs a unit")?;
    let shown = Unit::shown_as(id).ok_or_else(|| {
        anyhow!("{id} does not show numbers as they are exported; see xtask/src/dashboards/unit.rs")
    })?;
    match shape.unit {
        Some(unit) if unit != shown => bail!("{id} shows {shown}, and the query yields {unit}"),
        _ => Ok(()),
    }
}

/// Refuses a `{{label}}` that the series do not have: Grafana would show it as it is written.
fn check_legend(legend: &str, labels: &Labels) -> anyhow::Result<()> {
    let named = legend
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split("}}").next());
    match named.into_iter().find(|label| !labels.has(label.trim())) {
        None => Ok(()),
        Some(label) => {
            bail!("the legend {legend:?} names {label}, which its series do not have: {labels:?}")
        }
    }
}

fn check_variable(
    query: &str,
    catalogue: &Catalogue,
    declared: &BTreeSet<&str>,
) -> anyhow::Result<()> {
    let (selector, label) = label_values(query)?;
    let shape = check(selector, catalogue, Rigour::Names).with_context(|| query.to_owned())?;
    ensure!(shape.labels.has(label), "{selector} has no label {label}");
    match variables_in(query).find(|name| !declared.contains(name)) {
        None => Ok(()),
        Some(name) => bail!("${name} is declared below it or not at all"),
    }
}

/// Takes `label_values(selector, label)` apart.
pub(super) fn label_values(query: &str) -> anyhow::Result<(&str, &str)> {
    query
        .strip_prefix("label_values(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.rsplit_once(','))
        .map(|(selector, label)| (selector.trim(), label.trim()))
        .ok_or_else(|| anyhow!("expected label_values(selector, label), found {query}"))
}

/// The dashboard's own variables that a query uses.
fn variables_in(query: &str) -> impl Iterator<Item = &str> {
    let name = |rest: &'_ str| {
        rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .unwrap_or(rest.len())
    };
    let is_own = |name: &&str| !FILLED.iter().any(|(grafana, _)| grafana[1..] == **name);
    query
        .split('$')
        .skip(1)
        .map(move |rest| &rest[..name(rest)])
        .filter(is_own)
}

#[cfg(test)]
mod tests;
