//! Holds the crates' dependencies against the table of arrows in `ARCHITECTURE.md`.
//!
//! The table lists the crates from the ground up. Its first three columns are read: the crate, the
//! crates that it may use, and the heavy dependencies that are at home in it. `–` stands for none,
//! and a heavy dependency ending in `*` stands for every name that begins so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};
use thiserror::Error;

const TABLE_BEGINS: &str = "<!-- arrows -->";
const TABLE_ENDS: &str = "<!-- /arrows -->";

/// What the table says about one crate.
#[derive(Debug)]
struct Row {
    name: String,
    may_use: BTreeSet<String>,
    at_home: BTreeSet<String>,
}

/// What the manifest of one crate says.
#[derive(Debug)]
struct Crate {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    for_tests: bool,
}

/// One way in which the crates and the table disagree.
#[derive(Debug, Error, PartialEq, Eq)]
enum Breach {
    #[error("{0} is in the workspace and has no row; add one to the table")]
    NoRow(String),
    #[error("{0} has a row and is not in the workspace; remove the row")]
    NoCrate(String),
    #[error("{0} has two rows; keep one")]
    TwoRows(String),
    #[error(
        "the row of {from} names {to}, whose row is not above it; arrows point upwards in the table"
    )]
    NotBelow { from: String, to: String },
    #[error("{from} → {to} is not in the table; {from} may use: {accepted}")]
    Arrow {
        from: String,
        to: String,
        accepted: String,
    },
    #[error(
        "{from} → {to} (for tests) closes a circle, since {to} is built on {from}; move the test up into {to}"
    )]
    TestsAbove { from: String, to: String },
    #[error("{from} → {heavy} is not in the table; {heavy} is at home in: {homes}")]
    AwayFromHome {
        from: String,
        heavy: String,
        homes: String,
    },
}

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let path = root.join("ARCHITECTURE.md");
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let rows = parse_table(&page).context("read the table of arrows in ARCHITECTURE.md")?;
    let crates = read_crates(root)?;

    let breaches = breaches(&rows, &crates);
    for breach in &breaches {
        println!("{breach}");
    }
    if !breaches.is_empty() {
        bail!(
            "{} disagreements between the crates and ARCHITECTURE.md",
            breaches.len()
        );
    }
    println!("arrows: {} crates keep to ARCHITECTURE.md", crates.len());
    Ok(())
}

fn read_crates(root: &Path) -> anyhow::Result<Vec<Crate>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("run cargo metadata")?;
    let to_dependency = |dependency: cargo_metadata::Dependency| Dependency {
        for_tests: dependency.kind == DependencyKind::Development,
        name: dependency.name,
    };
    let to_crate = |package: cargo_metadata::Package| Crate {
        name: package.name.to_string(),
        dependencies: package
            .dependencies
            .into_iter()
            .map(to_dependency)
            .collect(),
    };
    Ok(metadata.packages.into_iter().map(to_crate).collect())
}

fn parse_table(page: &str) -> anyhow::Result<Vec<Row>> {
    let (_, after) = page
        .split_once(TABLE_BEGINS)
        .context(format!("find {TABLE_BEGINS}"))?;
    let (table, _) = after
        .split_once(TABLE_ENDS)
        .context(format!("find {TABLE_ENDS}"))?;
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.skip(2).map(parse_row).collect() // after the heading and its rule
}

fn parse_row(line: &str) -> anyhow::Result<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
    let [name, may_use, at_home, ..] = cells.as_slice() else {
        bail!("{line:?} has fewer than three columns");
    };
    Ok(Row {
        name: parse_name(name)?,
        may_use: parse_names(may_use)?,
        at_home: parse_names(at_home)?,
    })
}

fn parse_names(cell: &str) -> anyhow::Result<BTreeSet<String>> {
    if cell.trim() == "–" {
        return Ok(BTreeSet::new());
    }
    cell.split(',').map(parse_name).collect()
}

fn parse_name(text: &str) -> anyhow::Result<String> {
    let name = text.trim().trim_matches('`');
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_*".contains(c);
    if name.is_empty() || !name.chars().all(fits) {
        bail!("{name:?} is not the name of a crate; names are separated by commas, – means none");
    }
    Ok(name.to_owned())
}

fn breaches(rows: &[Row], crates: &[Crate]) -> Vec<Breach> {
    let mut found = breaches_of_table(rows);
    let by_name: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.name.as_str(), row)).collect();
    let members: BTreeSet<&str> = crates.iter().map(|member| member.name.as_str()).collect();

    let gone = rows
        .iter()
        .filter(|row| !members.contains(row.name.as_str()));
    found.extend(gone.map(|row| Breach::NoCrate(row.name.clone())));
    for member in crates {
        let Some(row) = by_name.get(member.name.as_str()) else {
            found.push(Breach::NoRow(member.name.clone()));
            continue;
        };
        for dependency in &member.dependencies {
            found.extend(if members.contains(dependency.name.as_str()) {
                breach_of_arrow(row, dependency, &by_name)
            } else {
                breach_of_home(row, dependency, rows)
            });
        }
    }
    found
}

/// A table whose rows name only rows above them has no circle.
fn breaches_of_table(rows: &[Row]) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut above = BTreeSet::new();
    for row in rows {
        for to in row.may_use.iter().filter(|to| !above.contains(to.as_str())) {
            found.push(Breach::NotBelow {
                from: row.name.clone(),
                to: to.clone(),
            });
        }
        if !above.insert(row.name.as_str()) {
            found.push(Breach::TwoRows(row.name.clone()));
        }
    }
    found
}

fn breach_of_arrow(
    row: &Row,
    dependency: &Dependency,
    by_name: &BTreeMap<&str, &Row>,
) -> Option<Breach> {
    let (from, to) = (row.name.clone(), dependency.name.clone());
    if dependency.for_tests {
        return built_on(&to, &from, by_name).then_some(Breach::TestsAbove { from, to });
    }
    if row.may_use.contains(&to) {
        return None;
    }
    let accepted = listed(row.may_use.iter());
    Some(Breach::Arrow { from, to, accepted })
}

/// Whether the table lets `upper` use `lower`, directly or through others.
fn built_on(upper: &str, lower: &str, by_name: &BTreeMap<&str, &Row>) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![upper];
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        if let Some(row) = by_name.get(name) {
            open.extend(row.may_use.iter().map(String::as_str));
        }
    }
    upper != lower && seen.contains(lower)
}

/// A dependency that is at home somewhere must be at home here. Tests are no exception.
fn breach_of_home(row: &Row, dependency: &Dependency, rows: &[Row]) -> Option<Breach> {
    let heavy = &dependency.name;
    let houses = |row: &&Row| row.at_home.iter().any(|pattern| stands_for(pattern, heavy));
    let homes: Vec<&String> = rows.iter().filter(houses).map(|home| &home.name).collect();
    if homes.is_empty() || homes.contains(&&row.name) {
        return None;
    }
    Some(Breach::AwayFromHome {
        from: row.name.clone(),
        heavy: heavy.clone(),
        homes: listed(homes.into_iter()),
    })
}

fn stands_for(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        "no other crate".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "
<!-- arrows -->
| crate | may use | at home | never knows |
|---|---|---|---|
| `rules` | – | – | time |
| engine | rules | gemm | – |
| study | rules | sqlx, otel* | – |
| house | engine, study | – | – |
<!-- /arrows -->
";

    fn rows() -> Vec<Row> {
        parse_table(PAGE).unwrap()
    }

    fn member(name: &str, dependencies: &[&str]) -> Crate {
        let needed = |name: &&str| Dependency {
            name: (*name).to_owned(),
            for_tests: false,
        };
        Crate {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(needed).collect(),
        }
    }

    fn tested_with(mut member: Crate, dependency: &str) -> Crate {
        member.dependencies.push(Dependency {
            name: dependency.to_owned(),
            for_tests: true,
        });
        member
    }

    fn house_with(changed: Crate) -> Vec<Crate> {
        let sound = [
            member("rules", &["serde"]),
            member("engine", &["rules", "gemm"]),
            member("study", &["rules", "sqlx", "otel-sdk"]),
            member("house", &["engine", "study"]),
        ];
        let others = sound
            .into_iter()
            .filter(|member| member.name != changed.name);
        let mut crates: Vec<Crate> = others.collect();
        crates.push(changed);
        crates
    }

    fn messages(rows: &[Row], crates: &[Crate]) -> Vec<String> {
        breaches(rows, crates)
            .iter()
            .map(Breach::to_string)
            .collect()
    }

    #[test]
    fn a_house_that_keeps_to_its_table_has_no_breach() {
        let crates = house_with(member("engine", &["rules", "gemm", "bytes"]));
        assert_eq!(messages(&rows(), &crates), [""; 0]);
    }

    #[test]
    fn an_arrow_outside_the_row_is_named_with_what_the_row_accepts() {
        let crates = house_with(member("engine", &["rules", "study"]));
        let expected = "engine → study is not in the table; engine may use: rules";
        assert_eq!(messages(&rows(), &crates), [expected]);
    }

    #[test]
    fn a_crate_that_may_use_nothing_is_told_so() {
        let crates = house_with(member("rules", &["engine"]));
        let expected = "rules → engine is not in the table; rules may use: no other crate";
        assert_eq!(messages(&rows(), &crates), [expected]);
    }

    #[test]
    fn a_heavy_dependency_away_from_home_is_named_with_its_home() {
        let crates = house_with(member("house", &["gemm", "otel"]));
        let expected = [
            "house → gemm is not in the table; gemm is at home in: engine",
            "house → otel is not in the table; otel is at home in: study",
        ];
        assert_eq!(messages(&rows(), &crates), expected);
    }

    #[test]
    fn tests_may_use_a_neighbour_but_no_crate_above() {
        let beside = house_with(tested_with(member("study", &["rules"]), "engine"));
        assert_eq!(messages(&rows(), &beside), [""; 0]);

        let above = house_with(tested_with(member("rules", &[]), "house"));
        let expected = Breach::TestsAbove {
            from: "rules".to_owned(),
            to: "house".to_owned(),
        };
        assert_eq!(breaches(&rows(), &above), [expected]);
    }

    #[test]
    fn tests_do_not_carry_a_heavy_dependency_away_from_home() {
        let crates = house_with(tested_with(member("engine", &["rules"]), "sqlx"));
        let expected = "engine → sqlx is not in the table; sqlx is at home in: study";
        assert_eq!(messages(&rows(), &crates), [expected]);
    }

    #[test]
    fn rows_and_crates_are_the_same_set() {
        let mut crates = house_with(member("attic", &[]));
        crates.retain(|member| member.name != "engine" && member.name != "house");
        let expected = [
            Breach::NoCrate("engine".to_owned()),
            Breach::NoCrate("house".to_owned()),
            Breach::NoRow("attic".to_owned()),
        ];
        assert_eq!(breaches(&rows(), &crates), expected);
    }

    #[test]
    fn a_row_names_only_rows_above_it_and_stands_once() {
        let page = PAGE.replace("| `rules` | – |", "| `rules` | engine |");
        let expected = Breach::NotBelow {
            from: "rules".to_owned(),
            to: "engine".to_owned(),
        };
        assert_eq!(breaches_of_table(&parse_table(&page).unwrap()), [expected]);

        let page = PAGE.replace("| engine | rules | gemm |", "| rules | – | gemm |");
        let found = breaches_of_table(&parse_table(&page).unwrap());
        assert!(
            found.contains(&Breach::TwoRows("rules".to_owned())),
            "{found:?}"
        );
    }

    #[test]
    fn a_remark_inside_a_column_that_is_read_is_refused() {
        let page = PAGE.replace("| engine | rules |", "| engine | rules (ids only) |");
        let refusal = parse_table(&page).unwrap_err().to_string();
        assert!(refusal.contains("rules (ids only)"), "{refusal}");
    }
}
