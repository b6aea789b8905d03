//! Finds files that hold more than one subject, and files that are named after none.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Lines before a file's tests at which to look for the second subject.
const LINES_NOTED: usize = 400;
/// Lines before a file's tests at which the second subject must have moved out.
const LINES_MAX: usize = 600;

/// File names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 12] = [
    "util", "utils", "helper", "helpers", "common", "types", "manager", "handler", "handlers",
    "misc", "errors", "traits",
];

/// Pages that stay short enough to be read: most lines of each.
const PAGES: [(&str, usize); 2] = [("README.md", 120), ("ARCHITECTURE.md", 200)];

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Noted(String),
    Refused(String),
}

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        collect_rust(&root.join(folder), &mut files)?;
    }
    files.sort();
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path);
        findings.extend(judge_code(name, &read(path)?));
    }
    for (name, lines_max) in PAGES {
        let path = root.join(name);
        if path.exists() {
            findings.extend(judge_page(name, &read(&path)?, lines_max));
        }
    }

    let mut refused = 0;
    for finding in &findings {
        match finding {
            Finding::Noted(what) => println!("note: {what}"),
            Finding::Refused(what) => {
                println!("error: {what}");
                refused += 1;
            }
        }
    }
    if refused > 0 {
        bail!("{refused} files are too long or named after nothing");
    }
    println!("sizes: {} Rust files looked at", files.len());
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Collects the Rust files under `folder`, leaving out generated code and build output.
fn collect_rust(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        let left_out = path.ends_with("gen") || path.ends_with("target");
        if path.is_dir() && !left_out {
            collect_rust(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn judge_code(path: &Path, text: &str) -> Vec<Finding> {
    let name = path.display();
    let mut findings = Vec::new();
    let stem = path.file_stem().unwrap_or_default();
    if EMPTY_NAMES.iter().any(|empty| stem == *empty) {
        findings.push(Finding::Refused(format!(
            "{name} is named after no subject"
        )));
    }
    let lines = lines_before_tests(text);
    if lines > LINES_MAX {
        let what = format!("{name} has {lines} lines before its tests; at most {LINES_MAX}");
        findings.push(Finding::Refused(what));
    } else if lines > LINES_NOTED {
        let what = format!("{name} has {lines} lines before its tests; is there a second subject?");
        findings.push(Finding::Noted(what));
    }
    findings
}

/// Lines before the module of tests; a lone test-only `use` or function does not end the count.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ");
    lines
        .windows(2)
        .position(opens_tests)
        .unwrap_or(lines.len())
}

fn judge_page(name: &str, text: &str, lines_max: usize) -> Option<Finding> {
    let lines = text.lines().count();
    let what = || format!("{name} has {lines} lines; at most {lines_max}");
    (lines > lines_max).then(|| Finding::Refused(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(lines: usize) -> String {
        "fn f() {}\n".repeat(lines)
    }

    #[test]
    fn a_long_file_is_noted_and_a_longer_one_refused() {
        let judge = |lines| judge_code(Path::new("crates/a/src/round.rs"), &code(lines));
        assert_eq!(judge(LINES_NOTED), []);
        assert!(matches!(
            judge(LINES_NOTED + 1).as_slice(),
            [Finding::Noted(_)]
        ));
        assert!(matches!(judge(LINES_MAX).as_slice(), [Finding::Noted(_)]));
        assert!(matches!(
            judge(LINES_MAX + 1).as_slice(),
            [Finding::Refused(_)]
        ));
    }

    #[test]
    fn the_lines_of_tests_do_not_count() {
        let text = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            code(10),
            code(LINES_MAX)
        );
        assert_eq!(lines_before_tests(&text), 10);
        assert_eq!(judge_code(Path::new("crates/a/src/round.rs"), &text), []);
    }

    #[test]
    fn a_test_only_import_does_not_hide_what_follows() {
        let text = format!("#[cfg(test)]\nuse std::fs;\n{}", code(LINES_MAX));
        assert_eq!(lines_before_tests(&text), LINES_MAX + 2);
    }

    #[test]
    fn a_file_named_after_no_subject_is_refused_and_named() {
        let what = "crates/a/src/utils.rs is named after no subject".to_owned();
        let findings = judge_code(Path::new("crates/a/src/utils.rs"), &code(1));
        assert_eq!(findings, [Finding::Refused(what)]);
        assert_eq!(
            judge_code(Path::new("crates/a/src/acceptance.rs"), &code(1)),
            []
        );
    }

    #[test]
    fn a_page_may_fill_its_limit_and_no_more() {
        assert_eq!(judge_page("README.md", &code(120), 120), None);
        let what = "README.md has 121 lines; at most 120".to_owned();
        assert_eq!(
            judge_page("README.md", &code(121), 120),
            Some(Finding::Refused(what))
        );
    }

    #[test]
    fn generated_code_is_not_looked_at() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "src/gen/wire.rs",
            "src/wire.rs",
            "target/built.rs",
            "src/notes.md",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut files = Vec::new();
        collect_rust(root.path(), &mut files).unwrap();
        assert_eq!(files, [root.path().join("src/wire.rs")]);
    }
}
