//! Copies of the rules and of Alertmanager's configuration in which everything that takes time takes
//! less of it: `for`, windows, intervals, and how alerts are grouped, by one factor. Real faults then
//! travel through a real Alertmanager while somebody watches.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::Context;

use super::rules;

const ALERTMANAGER: &str = "infra/alertmanager/alertmanager.yml";

/// No window is shorter than this: it must hold several scrapes.
const SHORTEST_MS: u64 = 4_000;

const OFFSET: &str = "offset ";

/// Keys whose value is a duration.
const TIMES: [&str; 7] = [
    "for:",
    "keep_firing_for:",
    "interval:",
    "group_wait:",
    "group_interval:",
    "repeat_interval:",
    "resolve_timeout:",
];

/// Writes the copies into `out`: `rules/*.yml` and `alertmanager.yml`.
pub(crate) fn write(root: &Path, factor: NonZeroU32, out: &Path) -> anyhow::Result<()> {
    let folder = out.join("rules");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut files: Vec<_> = rules::paths(root)?
        .into_iter()
        .map(|path| {
            (
                path.clone(),
                folder.join(path.file_name().unwrap_or_default()),
            )
        })
        .collect();
    files.push((root.join(ALERTMANAGER), out.join("alertmanager.yml")));
    for (from, to) in files {
        let text = fs::read_to_string(&from).with_context(|| format!("read {}", from.display()))?;
        let text = hastened(&text, factor);
        fs::write(&to, text).with_context(|| format!("write {}", to.display()))?;
    }
    println!(
        "alerts: wrote copies {factor} times as fast into {}",
        out.display()
    );
    Ok(())
}

/// `text` with each duration divided. Windows stand in brackets, other durations after their key.
fn hastened(text: &str, factor: NonZeroU32) -> String {
    let hasten = |line: &str| {
        let key = TIMES.iter().find(|key| line.contains(**key));
        match key {
            Some(key) if !line.trim_start().starts_with('#') => time_after(line, key, factor),
            _ => windows(line, factor),
        }
    };
    text.lines().map(|line| hasten(line) + "\n").collect()
}

fn time_after(line: &str, key: &str, factor: NonZeroU32) -> String {
    let (before, rest) = line.split_once(key).unwrap_or((line, ""));
    let rest = rest.trim_start();
    let is_end = |c: char| !c.is_ascii_alphanumeric();
    let (time, after) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
    match milliseconds(time) {
        Some(ms) => {
            let divided = in_milliseconds((ms / u64::from(factor.get())).max(1));
            format!("{before}{key} {divided}{after}")
        }
        None => line.to_owned(),
    }
}

/// Shortens `[5m]` and `offset 1d`.
fn windows(line: &str, factor: NonZeroU32) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('[').into_iter().chain(rest.find(OFFSET)).min() {
        let begins = if rest[at..].starts_with('[') {
            1
        } else {
            OFFSET.len()
        };
        let (before, opened) = rest.split_at(at + begins);
        let is_end = |c: char| !c.is_ascii_alphanumeric();
        let (window, after) = opened.split_at(opened.find(is_end).unwrap_or(opened.len()));
        let window = milliseconds(window).map_or_else(
            || window.to_owned(),
            |ms| in_milliseconds((ms / u64::from(factor.get())).max(SHORTEST_MS)),
        );
        text = text + before + &window;
        rest = after;
    }
    text + rest
}

fn in_milliseconds(ms: u64) -> String {
    format!("{ms}ms")
}

/// Reads a duration such as `15s` or `1h30m`.
fn milliseconds(text: &str) -> Option<u64> {
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = &after[..after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len())];
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total += number * factor;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_sixty(line: &str) -> String {
        hastened(line, NonZeroU32::new(60).unwrap())
    }

    #[test]
    fn whatever_takes_time_takes_less() {
        assert_eq!(by_sixty("        for: 5m"), "        for: 5000ms\n");
        assert_eq!(by_sixty("  group_wait: 30s"), "  group_wait: 500ms\n");
        assert_eq!(
            by_sixty("- {for: 1h30m, labels: {a: b}}"),
            "- {for: 90000ms, labels: {a: b}}\n"
        );
    }

    #[test]
    fn a_window_shrinks_until_it_holds_a_few_scrapes() {
        assert_eq!(
            by_sixty("rate(a[1h]) > b[5m]"),
            "rate(a[60000ms]) > b[5000ms]\n"
        );
        assert_eq!(by_sixty("rate(a[2m])"), "rate(a[4000ms])\n");
        assert_eq!(by_sixty("a offset 1h > b"), "a offset 60000ms > b\n");
        assert_eq!(
            by_sixty("group_by: [alertname, job]"),
            "group_by: [alertname, job]\n"
        );
    }

    #[test]
    fn what_is_no_duration_stays() {
        for line in [
            "# waits for: nothing",
            "name: a[b]c",
            "group_by: [alertname]",
        ] {
            assert_eq!(by_sixty(line), format!("{line}\n"));
        }
    }
}
