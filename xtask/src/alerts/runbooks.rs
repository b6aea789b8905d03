//! Whether each alert has a runbook that a person on call can follow: its three parts, commands that
//! exist, queries that name what is exported.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use super::exported::Exported;
use super::{queries, runbook_of};

const PAGES: &str = "docs";
const FOLDER: &str = "docs/runbooks";
const PARTS: [&str; 3] = ["## Symptoms", "## Check", "## Fix"];

/// Where the commands of `pangea` are listed, and where those of `make` are.
const CLI: &str = "crates/pangea/src/cli.rs";
const MAKEFILE: &str = "Makefile";

/// The services of the compose file, which are their host names too.
const SERVICES: [&str; 16] = [
    "orchestrator",
    "compute-core",
    "training-worker-1",
    "training-worker-2",
    "training-worker-3",
    "postgres",
    "localstack",
    "prometheus",
    "alertmanager",
    "grafana",
    "jaeger",
    "loki",
    "otel-collector",
    "node-exporter",
    "cadvisor",
    "postgres-exporter",
];

/// Commands that exist.
#[derive(Debug)]
struct Commands {
    pangea: BTreeSet<String>,
    make: BTreeSet<String>,
}

/// What is wrong with the runbooks of `alerts`.
pub(super) fn problems(
    root: &Path,
    alerts: &BTreeSet<&str>,
    exported: &Exported,
) -> anyhow::Result<Vec<String>> {
    let commands = Commands::read(root)?;
    let expected = alerts.iter().map(|alert| (runbook_of(alert), *alert));
    let mut problems = Vec::new();
    let mut known = BTreeSet::new();
    for (name, alert) in expected {
        match fs::read_to_string(root.join(FOLDER).join(format!("{name}.md"))) {
            Ok(page) => {
                let found = judge(alert, &page, &commands, exported);
                let found = found.into_iter().chain(broken_links(root, &page));
                problems.extend(found.map(|what| format!("{FOLDER}/{name}.md: {what}")));
            }
            Err(_) => problems.push(format!("{alert} has no {FOLDER}/{name}.md")),
        }
        known.insert(format!("{name}.md"));
    }
    for entry in fs::read_dir(root.join(FOLDER)).with_context(|| format!("list {FOLDER}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !known.contains(&name) {
            problems.push(format!("{FOLDER}/{name} belongs to no alert"));
        }
    }
    problems.extend(other_queries(root, exported)?);
    Ok(problems)
}

/// What is wrong with the queries of pages that are no runbooks.
fn other_queries(root: &Path, exported: &Exported) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for entry in fs::read_dir(root.join(PAGES)).with_context(|| format!("list {PAGES}"))? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        let page = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        let found = lines_of(&page, "promql").flat_map(|line| queries::problems(line, exported));
        problems.extend(found.map(|what| format!("{name}: {what}")));
    }
    Ok(problems)
}

fn judge(alert: &str, page: &str, commands: &Commands, exported: &Exported) -> Vec<String> {
    let mut problems = Vec::new();
    if page.lines().next() != Some(&format!("# {alert}")) {
        problems.push(format!("it does not begin with \"# {alert}\""));
    }
    let parts: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    if parts != PARTS {
        problems.push(format!("its parts are {parts:?}; expected {PARTS:?}"));
    }
    for line in lines_of(page, "promql") {
        problems.extend(queries::problems(line, exported));
    }
    let quoted = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| !code.contains('\n'));
    for line in lines_of(page, "sh").chain(quoted) {
        problems.extend(commands.problem_with(line));
    }
    problems
}

/// The lines in fences of one language.
fn lines_of<'a>(page: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    let mut inside = false;
    page.lines()
        .filter(move |line| match line.strip_prefix("```") {
            Some(opened) => {
                inside = opened == language;
                false
            }
            None => inside,
        })
}

/// Links to pages that are not there.
fn broken_links(root: &Path, page: &str) -> Vec<String> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://"))
        .filter(|target| !root.join(FOLDER).join(target).exists())
        .map(|target| format!("it links {target}, which is not there"))
        .collect()
}

impl Commands {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let text = |name: &str| {
            fs::read_to_string(root.join(name)).with_context(|| format!("read {name}"))
        };
        let pangea = subcommands(&text(CLI)?);
        if pangea.is_empty() {
            bail!("{CLI} has no `enum Command`");
        }
        let targets = text(MAKEFILE)?;
        let make = targets
            .lines()
            .filter_map(|line| line.split_once(": ## ").or(line.split_once(":\t")))
            .map(|(name, _)| name.to_owned())
            .collect();
        Ok(Self { pangea, make })
    }

    /// What is wrong with a line, if it begins with a command that is known here.
    fn problem_with(&self, line: &str) -> Option<String> {
        let is_setting = |word: &&str| word.contains('=') && !word.starts_with('-');
        let mut words = line.split_whitespace().skip_while(is_setting);
        match words.next()? {
            "pangea" => {
                let name = words.next()?;
                let known = self.pangea.contains(name) || name.starts_with('-');
                (!known).then(|| format!("there is no command `pangea {name}`"))
            }
            "make" => {
                let name = words.next()?;
                (!self.make.contains(name)).then(|| format!("there is no target `make {name}`"))
            }
            "docker" if words.next() == Some("compose") => {
                let action = words.next()?;
                let names = words.filter(|word| !word.starts_with('-'));
                // What follows the service runs inside it; NAME stands for any.
                let names = names.take(if action == "exec" { 1 } else { usize::MAX });
                let unknown = names
                    .into_iter()
                    .find(|name| !SERVICES.contains(name) && *name != "NAME")?;
                Some(format!("there is no service {unknown}: {line}"))
            }
            _ => None,
        }
    }
}

/// The subcommands of clap's `enum Command`, as they are written on a command line.
fn subcommands(code: &str) -> BTreeSet<String> {
    let within = code
        .lines()
        .skip_while(|line| !line.starts_with("enum Command"))
        .skip(1)
        .take_while(|line| *line != "}");
    let variants = within.filter_map(|line| {
        let name = line.trim().split(['(', ',']).next()?;
        let is_variant = name.chars().next()?.is_uppercase();
        is_variant.then(|| runbook_of(name))
    });
    variants.collect()
}

#[cfg(test)]
mod tests {
    use super::super::exported::tests::exported;
    use super::*;

    const PAGE: &str = "# QueueBlocked

## Symptoms

Tasks wait.

## Check

```sh
pangea workers
docker compose logs --since=15m orchestrator
```

```promql
up_and_down > 1
```

## Fix

1. `make alert-test`, or `docker compose exec postgres psql -c 'select 1'`.
";

    fn commands() -> Commands {
        Commands {
            pangea: subcommands(
                "enum Command {\n    /// Lists\n    Workers,\n    Gc(gc::Gc),\n}\n",
            ),
            make: ["alert-test".to_owned()].into(),
        }
    }

    fn found(page: &str) -> Vec<String> {
        judge("QueueBlocked", page, &commands(), &exported())
    }

    #[test]
    fn a_runbook_has_three_parts_and_commands_that_exist() {
        assert_eq!(found(PAGE), [""; 0]);
        for (right, wrong) in [
            ("# QueueBlocked", "# Queue"),
            ("## Check", "## Checks"),
            ("pangea workers", "pangea works"),
            ("make alert-test", "make alerts"),
            ("15m orchestrator", "15m worker"),
            ("exec postgres", "exec postgresql"),
            ("up_and_down", "up_or_down"),
        ] {
            let page = PAGE.replace(right, wrong);
            assert_eq!(found(&page).len(), 1, "{wrong}: {:?}", found(&page));
        }
    }

    #[test]
    fn subcommands_are_read_as_they_are_typed() {
        let expected = ["gc", "workers"].map(str::to_owned);
        assert_eq!(commands().pangea, expected.into());
    }
}
