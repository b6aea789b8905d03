//! Every metric is documented, every documented metric has a producer, and the names keep to rules.
//!
//! `docs/metrics.md` is written from what the services of a running house have registered:
//! `make docs` writes it, and the test here says when it is not current.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use telemetry::metrics::{Family, Registry, lint};

use crate::processes::service::get;
use crate::scene::{SHORT_JOB, Scene, changed, commit_of, job};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

const INTRODUCTION: &str = "\
# Metrics

*Written by `make docs` from what the services register; edits are lost.*

Each service shows its own at `/metrics`. A histogram `x` is exported as `x_bucket`, `x_sum` and
`x_count`, and remembers for each bucket the trace of the last kept span that fell into it, which
OpenMetrics carries as exemplars. A label with `…` takes its values from outside: the first ones
keep their names, the rest are `__other__`, and `telemetry_label_overflow_total` counts them. Series
of a run end with the run. The last column has the rows of
[guide-rows.md](guide-rows.md) that ask for the metric by this name.
";

/// Metrics whose series begin with something that does not happen in an undisturbed run. The tests
/// of their crates make it happen.
const AFTER_TROUBLE: [&str; 6] = [
    "db_errors_total",
    "http_requests_errors_total",
    "pangea_stalls_total",
    "pangea_updates_refused_total",
    "telemetry_label_overflow_total",
    "telemetry_export_duration_seconds",
];

type Services = BTreeMap<&'static str, Vec<&'static Family>>;

fn services(registries: &BTreeMap<&'static str, Registry>) -> Services {
    registries
        .iter()
        .map(|(service, registry)| {
            let mut families = registry.families();
            families.sort_by_key(|family| family.name);
            (*service, families)
        })
        .collect()
}

/// The page, by crate and name.
fn page(services: &Services) -> String {
    let mut by_crate: BTreeMap<&str, BTreeMap<&str, (&Family, BTreeSet<&str>)>> = BTreeMap::new();
    for (service, families) in services {
        for family in families {
            let entries = by_crate.entry(family.crate_name).or_default();
            let (_, producers) = entries
                .entry(family.name)
                .or_insert_with(|| (family, BTreeSet::new()));
            producers.insert(service.trim_start_matches("pangea-"));
        }
    }
    let mut page = INTRODUCTION.to_owned();
    for (name, entries) in by_crate {
        write!(page, "\n## From {name}\n\n").expect("text");
        page.push_str("| name | type | unit | labels | what it says | shown by | rows |\n");
        page.push_str("|---|---|---|---|---|---|---|\n");
        for (family, producers) in entries.values() {
            page.push_str(&line(family, producers));
        }
    }
    page
}

fn line(family: &Family, producers: &BTreeSet<&str>) -> String {
    let labels = family.labels.iter().map(|label| match label.values {
        [] => format!("`{}`: …", label.name),
        values => format!("`{}`: {}", label.name, values.join(", ")),
    });
    let mut says = family.help();
    if !family.aliases.is_empty() {
        write!(says, " Also as `{}`.", family.aliases.join("`, `")).expect("text");
    }
    if !family.buckets.is_empty() {
        let edges: Vec<_> = family.buckets.iter().map(f64::to_string).collect();
        write!(says, " Buckets: {}.", edges.join(", ")).expect("text");
    }
    // In one process, one of the services shows what is of the process.
    let producers: Vec<_> = if is_of_the_process(family.name) {
        vec!["every process"]
    } else {
        producers.iter().copied().collect()
    };
    format!(
        "| `{}` | {} | {} | {} | {says} | {} | {} |\n",
        family.name,
        family.kind.as_str(),
        family.unit().as_str(),
        labels.collect::<Vec<_>>().join("; "),
        producers.join(", "),
        family.rows,
    )
}

fn is_of_the_process(name: &str) -> bool {
    let prefixes = [
        "process_",
        "tokio_",
        "telemetry_export",
        "telemetry_spans",
        "telemetry_logs",
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The names under which a service shows something.
fn shown(registry: &Registry) -> BTreeSet<String> {
    let families = registry.snapshot().families;
    families
        .iter()
        .map(|family| family.name().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_documented_and_what_is_documented_is_exported() {
    let scene = Scene::with_digits(2).await;
    let text = changed(SHORT_JOB, &[("seed: 7", "seed: 7\npublish_as: counted")]);
    let run = scene.submit(&job(&text, &[])).await;
    let mut watching = scene.watch(&run, 0);
    watching.until(commit_of(1)).await;
    // Series of a run end with it, so they are looked at while it is in work.
    let early: Vec<_> = scene.house.registries().values().map(shown).collect();
    scene.completed(&run).await;
    for place in scene.house.places() {
        get(place.http, "/metrics").await;
    }

    let services = services(scene.house.registries());
    let all: Vec<_> = services.values().flatten().copied().collect();
    assert_eq!(lint::problems(&all), [""; 0]);

    let current = page(&services);
    if std::env::var_os("PANGEA_WRITE_DOCS").is_some() {
        fs::write(PAGE, &current).expect("the page");
    }
    let written = fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert!(
        written == current,
        "docs/metrics.md is not current; `make docs` writes it"
    );

    for ((service, registry), early) in scene.house.registries().iter().zip(early) {
        let known: BTreeSet<_> = services[service]
            .iter()
            .flat_map(|family| std::iter::once(&family.name).chain(family.aliases))
            .map(|name| (*name).to_owned())
            .collect();
        let shown: BTreeSet<_> = shown(registry).union(&early).cloned().collect();
        let undocumented: Vec<_> = shown.difference(&known).collect();
        assert!(undocumented.is_empty(), "{service} shows {undocumented:?}");
        let missing: Vec<_> = known
            .difference(&shown)
            .filter(|name| !AFTER_TROUBLE.contains(&name.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "nothing produces {missing:?} of {service}"
        );
    }
}
