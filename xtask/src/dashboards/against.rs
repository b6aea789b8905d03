//! Executes every query and every variable of the dashboards against a real Prometheus.
//!
//! A query fails when it is refused, yields nothing, or yields what is not a finite number. Two
//! things excuse it: that what it asks about is not scraped there, which must be said and be so;
//! and a line of grafana/empty.yaml, which must be so too.

mod prometheus;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::catalogue::Catalogue;
use super::description::Dashboard;
use super::grafana::ANNOTATIONS;
use super::query::{filled, needs_one_of};
use super::review::label_values;
use super::text;
use prometheus::{Answer, Prometheus};

const EMPTY: &str = "grafana/empty.yaml";

/// `UID/PANEL/LEGEND` → why nothing comes of it.
type Excuses = BTreeMap<String, String>;

/// One query to execute.
struct Query {
    /// `UID/PANEL/LEGEND`, as in [`EMPTY`].
    name: String,
    text: String,
    over_time: bool,
}

/// Executes all, and tells of each that is not as expected.
///
/// `without` are jobs that this Prometheus does not scrape.
pub(super) fn run(
    root: &Path,
    url: &str,
    without: &[String],
    catalogue: &Catalogue,
    dashboards: &[Dashboard],
) -> anyhow::Result<()> {
    let prometheus = Prometheus::at(url)?;
    for job in without {
        let targets = prometheus.instant(&format!("up{{job=\"{job}\"}}"))?;
        ensure!(
            targets.series == 0,
            "{job} is scraped there; leave out `--without {job}`"
        );
    }
    let mut excuses: Excuses =
        serde_yaml_ng::from_str(&text(root, EMPTY)?).with_context(|| format!("read {EMPTY}"))?;

    let (mut fine, mut left_out, mut failed) = (0, 0, 0);
    for query in queries(dashboards) {
        if !is_scraped(&query.text, without, catalogue) {
            left_out += 1;
            continue;
        }
        let answer = match query.over_time {
            true => prometheus.range(&query.text),
            false => prometheus.instant(&query.text),
        };
        match judge(&answer, excuses.remove(&query.name)) {
            Ok(()) => fine += 1,
            Err(fault) => {
                failed += 1;
                println!(
                    "{}: {fault:#}\n    {}",
                    query.name,
                    query.text.replace('\n', " ")
                );
            }
        }
    }
    for (name, query) in variables(dashboards) {
        let (selector, label) = label_values(&query)?;
        if !is_scraped(selector, without, catalogue) {
            left_out += 1;
            continue;
        }
        match prometheus.values(&filled(selector), label)? {
            0 => {
                failed += 1;
                println!("{name}: it has no values\n    {query}");
            }
            _ => fine += 1,
        }
    }
    annotations(&prometheus)?;
    if let Some(name) = excuses
        .keys()
        .find(|name| !is_left_out(name, dashboards, without, catalogue))
    {
        bail!("{EMPTY} excuses {name}, and there is no such query; remove the line");
    }
    println!(
        "dashboards: {fine} queries and variables have data, {left_out} ask about jobs left out"
    );
    ensure!(
        failed == 0,
        "{failed} queries or variables are not as expected"
    );
    Ok(())
}

fn judge(answer: &anyhow::Result<Answer>, excuse: Option<String>) -> anyhow::Result<()> {
    match (answer, excuse) {
        (Err(error), _) => bail!("{error:#}"),
        (Ok(Answer { series: 0, .. }), Some(_)) => Ok(()),
        (Ok(Answer { series: 0, .. }), None) => bail!("nothing comes of it"),
        (Ok(_), Some(excuse)) => {
            bail!("there is data, and {EMPTY} says: {excuse}; remove the line")
        }
        (
            Ok(Answer {
                not_finite: Some(series),
                ..
            }),
            None,
        ) => bail!("not a finite number: {series}"),
        (Ok(_), None) => Ok(()),
    }
}

fn queries(dashboards: &[Dashboard]) -> Vec<Query> {
    let mut queries = Vec::new();
    for dashboard in dashboards {
        for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
            for (legend, text) in panel.queries.iter() {
                queries.push(Query {
                    name: format!("{}/{}/{legend}", dashboard.uid, panel.title),
                    text: with_all(text, dashboard),
                    over_time: !panel.kind.is_of_now(),
                });
            }
        }
    }
    queries
}

fn variables(dashboards: &[Dashboard]) -> Vec<(String, String)> {
    let of = |dashboard: &Dashboard| {
        let named = |(name, query): (&str, &str)| {
            (
                format!("{}/${name}", dashboard.uid),
                with_all(query, dashboard),
            )
        };
        dashboard.variables.iter().map(named).collect::<Vec<_>>()
    };
    dashboards.iter().flat_map(of).collect()
}

/// The query as Grafana sends it when each variable says All.
fn with_all(query: &str, dashboard: &Dashboard) -> String {
    let mut names: Vec<&str> = dashboard.variables.iter().map(|(name, _)| name).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len())); // $run_id before $run
    let fill = |query: String, name: &str| query.replace(&format!("${name}"), ".*");
    names.into_iter().fold(filled(query), fill)
}

/// Whether everything that the query needs is scraped.
fn is_scraped(query: &str, without: &[String], catalogue: &Catalogue) -> bool {
    let is_missing =
        |jobs: &Vec<String>| !jobs.is_empty() && jobs.iter().all(|job| without.contains(job));
    !needs_one_of(query, catalogue).iter().any(is_missing)
}

fn is_left_out(
    name: &str,
    dashboards: &[Dashboard],
    without: &[String],
    catalogue: &Catalogue,
) -> bool {
    let named = |query: &Query| query.name == name;
    let query = queries(dashboards).into_iter().find(named);
    query.is_some_and(|query| !is_scraped(&query.text, without, catalogue))
}

/// The queries of annotations, which may well have nothing to mark, must at least be accepted.
fn annotations(prometheus: &Prometheus) -> anyhow::Result<()> {
    for [name, _, query, ..] in ANNOTATIONS {
        prometheus
            .range(query)
            .with_context(|| format!("execute the annotation {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(series: usize, not_finite: Option<&str>, excuse: Option<&str>) -> String {
        let answer = Answer {
            series,
            not_finite: not_finite.map(str::to_owned),
        };
        let verdict = judge(&Ok(answer), excuse.map(str::to_owned));
        verdict
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn an_excuse_holds_as_long_as_nothing_comes() {
        assert_eq!(told(1, None, None), "");
        assert_eq!(told(0, None, None), "nothing comes of it");
        assert_eq!(told(0, None, Some("no oven")), "");
        let there = "there is data, and grafana/empty.yaml says: no oven; remove the line";
        assert_eq!(told(1, None, Some("no oven")), there);
        assert_eq!(told(1, Some("{oven}"), None), "not a finite number: {oven}");
    }

    #[test]
    fn what_one_selector_lacks_the_query_lacks() {
        let mut catalogue = Catalogue::default();
        let yaml = "oven: {heat: gauge count}\nstove: {flame: gauge count}\n";
        catalogue.add_exporters(yaml).unwrap();
        let without = ["stove".to_owned()];
        assert!(is_scraped("heat", &without, &catalogue));
        assert!(!is_scraped("heat + flame", &without, &catalogue));
    }

    #[test]
    fn all_stands_for_each_variable_and_for_no_part_of_one() {
        let yaml = "{uid: a, title: A, says: A., range: 1h, rows: [], \
                    variables: {run: 'label_values(a, run)', run_id: 'label_values(a, run)'}}";
        let dashboard: Dashboard = serde_yaml_ng::from_str(yaml).unwrap();
        let query = with_all(
            "rate(a{r=~\"$run\", i=~\"$run_id\"}[$__rate_interval])",
            &dashboard,
        );
        assert_eq!(query, "rate(a{r=~\".*\", i=~\".*\"}[1m])");
    }
}
