//! Writes Grafana's dashboards from the descriptions in grafana/panels.
//!
//! Each query is read and held against the catalogue of series, so that a renamed metric fails here
//! and not in front of a person on call. The same descriptions give the same bytes.

mod against;
pub(crate) mod catalogue;
mod description;
mod grafana;
mod links;
pub(crate) mod query;
mod recorded;
mod review;
mod unit;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use catalogue::Catalogue;
use description::Dashboard;

const DESCRIPTIONS: &str = "grafana/panels";
const UNSHOWN: &str = "grafana/unshown.yaml";
const FILES: &str = "grafana/dashboards";

pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    let folder = root.join(FILES);
    fs::create_dir_all(&folder).with_context(|| format!("create {FILES}"))?;
    let files = generate(root)?;
    for name in committed(&folder)?
        .into_iter()
        .filter(|name| !files.contains_key(name))
    {
        fs::remove_file(folder.join(&name)).with_context(|| format!("remove {FILES}/{name}"))?;
        println!("dashboards: removed {FILES}/{name}, which no description makes");
    }
    for (name, text) in &files {
        fs::write(folder.join(name), text).with_context(|| format!("write {FILES}/{name}"))?;
    }
    println!("dashboards: wrote {} files in {FILES}", files.len());
    Ok(())
}

pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let files = generate(root)?;
    for name in committed(&root.join(FILES))? {
        if !files.contains_key(&name) {
            bail!("no description makes {FILES}/{name}; run `cargo xtask dashboards`");
        }
    }
    for (name, expected) in &files {
        let text = fs::read_to_string(root.join(FILES).join(name))
            .with_context(|| format!("read {FILES}/{name}; `cargo xtask dashboards` writes it"))?;
        if text != *expected {
            bail!(
                "{FILES}/{name} is not what {DESCRIPTIONS} describes; run `cargo xtask dashboards`"
            );
        }
    }
    println!("dashboards: {} files are current", files.len());
    Ok(())
}

/// Executes every query of every dashboard. See [`against`].
pub(crate) fn execute(root: &Path, url: &str, without: &[String]) -> anyhow::Result<()> {
    let catalogue = Catalogue::read(root)?;
    let dashboards = described(root)?;
    against::run(root, url, without, &catalogue, &dashboards)
}

fn generate(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let catalogue = Catalogue::read(root)?;
    let dashboards = described(root)?;
    let mut links = review::review(&dashboards, &catalogue)?;
    let unshown: BTreeMap<String, String> = serde_yaml_ng::from_str(&text(root, UNSHOWN)?)
        .with_context(|| format!("read {UNSHOWN}"))?;
    review::review_coverage(&dashboards, &catalogue, &unshown)?;
    let file = |dashboard: &Dashboard| {
        let mut links = links.remove(&dashboard.uid).unwrap_or_default();
        let json = in_order(grafana::file(dashboard, &mut links));
        let text = serde_json::to_string_pretty(&json).context("write JSON")?;
        Ok((format!("{}.json", dashboard.uid), text + "\n"))
    };
    dashboards.iter().map(file).collect()
}

fn described(root: &Path) -> anyhow::Result<Vec<Dashboard>> {
    let folder = root.join(DESCRIPTIONS);
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {DESCRIPTIONS}"))? {
        paths.push(
            entry
                .with_context(|| format!("list {DESCRIPTIONS}"))?
                .path(),
        );
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path)?;
        serde_yaml_ng::from_str(&text).map_err(anyhow::Error::from)
    };
    let named = |path: &PathBuf| read(path).with_context(|| format!("read {}", path.display()));
    paths.iter().map(named).collect()
}

fn text(root: &Path, name: &str) -> anyhow::Result<String> {
    fs::read_to_string(root.join(name)).with_context(|| format!("read {name}"))
}

/// The names of the files in the folder of dashboards.
fn committed(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {FILES}"))? {
        let name = entry.with_context(|| format!("list {FILES}"))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}

/// With the keys of each object in the order of the alphabet, whatever features of `serde_json`
/// other crates of the build ask for.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map.into_iter().collect();
            sorted
                .into_iter()
                .map(|(key, value)| (key, in_order(value)))
                .collect()
        }
        Value::Array(values) => values.into_iter().map(in_order).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_is_that_of_the_alphabet_at_every_depth() {
        let value = json!({ "b": [{ "d": 1, "c": 2 }], "a": null });
        assert_eq!(
            in_order(value).to_string(),
            r#"{"a":null,"b":[{"c":2,"d":1}]}"#
        );
    }

    #[test]
    fn the_committed_dashboards_are_generated_twice_alike() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let first = generate(&root).unwrap();
        assert_eq!(first, generate(&root).unwrap());
        assert!(first.contains_key("pangea-metrics.json"));
    }

    /// What an annotation asks for, in a house whose catalogue has no more than it must.
    const STARTS: &str = "pangea-oven: {process_start_time_seconds: gauge seconds}\n";

    fn put(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_dashboard_that_was_edited_is_named_with_the_command_that_mends_it() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "docs/metrics.md",
                "| `pangea_build_info` | gauge | count | `service`: …; `version`: …; `revision`: … | . | every process | |",
            ),
            ("grafana/unshown.yaml", "{}"),
            (
                "grafana/panels/oven.yaml",
                "{uid: oven, title: Oven, says: It bakes., range: 1h, rows: []}",
            ),
        ] {
            put(root.path(), name, text);
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let others = text(&here, "grafana/exporters.yaml").unwrap();
        put(root.path(), "grafana/exporters.yaml", &(others + STARTS));
        write(root.path()).unwrap();
        check(root.path()).unwrap();
        let file = root.path().join(FILES).join("oven.json");
        fs::write(&file, fs::read_to_string(&file).unwrap() + " ").unwrap();
        let told = check(root.path()).unwrap_err().to_string();
        assert_eq!(
            told,
            "grafana/dashboards/oven.json is not what grafana/panels describes; run `cargo xtask dashboards`"
        );

        fs::rename(&file, file.with_file_name("stove.json")).unwrap();
        let told = check(root.path()).unwrap_err().to_string();
        assert_eq!(
            told,
            "no description makes grafana/dashboards/stove.json; run `cargo xtask dashboards`"
        );
    }
}
