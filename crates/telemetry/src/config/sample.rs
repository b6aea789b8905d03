//! Holds a service's sample file against its defaults, so that the file can be trusted.
//!
//! A sample shows every key with its default. A default that follows from the machine, such as a
//! number of cores, stands in a comment: `# threads = 4`.

use std::collections::BTreeSet;

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is wrong with `sample`, where the keys in `machine` stand in comments; nothing when it can
/// be trusted. For tests.
#[must_use]
pub fn problems<C>(sample: &str, machine: &[&str]) -> Vec<String>
where
    C: Default + Serialize + DeserializeOwned,
{
    let whole = uncommented(sample);
    let mut problems = Vec::new();
    for (what, text) in [("as it is", sample), ("uncommented", &whole)] {
        if let Err(error) = Figment::from(Toml::string(text)).extract::<C>() {
            problems.push(format!("{what}: {error}"));
        }
    }
    let (shown, set) = (keys(&whole), keys(sample));
    let defaults = leaves(&Figment::from(Serialized::defaults(C::default())));
    for (key, _) in &defaults {
        if !shown.contains(key) {
            problems.push(format!("{key} is not shown"));
        }
    }
    for key in shown.difference(&set) {
        if !machine.contains(&key.as_str()) {
            problems.push(format!("{key} stands in a comment"));
        }
    }
    for key in machine.iter().filter(|key| set.contains(**key)) {
        problems.push(format!("{key} follows from the machine and is set"));
    }
    if let Ok(sampled) = Figment::from(Toml::string(sample)).extract::<C>() {
        let sampled = leaves(&Figment::from(Serialized::defaults(sampled)));
        for ((key, default), (_, sampled)) in defaults.iter().zip(&sampled) {
            if default != sampled {
                problems.push(format!("{key} is {sampled:?}; the default is {default:?}"));
            }
        }
    }
    problems
}

/// The text with `# key = value` as `key = value`.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_setting(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn is_setting(line: &str) -> bool {
    let is_key = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    line.split_once(" = ").is_some_and(|(key, _)| is_key(key))
}

fn keys(text: &str) -> BTreeSet<String> {
    let leaves = leaves(&Figment::from(Toml::string(text)));
    leaves.into_iter().map(|(key, _)| key).collect()
}

/// Every value under its whole key, by key.
fn leaves(figment: &Figment) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    if let Ok(dict) = figment.extract::<Dict>() {
        collect(&dict, "", &mut leaves);
    }
    leaves
}

fn collect(dict: &Dict, prefix: &str, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in dict {
        let key = format!("{prefix}{key}");
        match value {
            Value::Dict(_, inner) => collect(inner, &format!("{key}."), leaves),
            value => leaves.push((key, value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        name: String,
        pool: Pool,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Pool {
        size: u32,
        threads: u32,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self {
                name: "a".to_owned(),
                pool: Pool::default(),
            }
        }
    }

    impl Default for Pool {
        fn default() -> Self {
            Self {
                size: 3,
                threads: 16,
            }
        }
    }

    fn found(sample: &str) -> String {
        problems::<Settings>(sample, &["pool.threads"]).join("; ")
    }

    #[test]
    fn a_sample_that_shows_every_default_can_be_trusted() {
        let sample = "# A name = something.\nname = \"a\"\n[pool]\nsize = 3\n# threads = 4\n";
        assert_eq!(found(sample), "");
    }

    #[test]
    fn what_a_sample_leaves_out_changes_or_makes_up_is_told() {
        let told = found("name = \"a\"\n[pool]\n# threads = 4\n");
        assert_eq!(told, "pool.size is not shown");
        let told = found("# name = \"a\"\n[pool]\nsize = 3\nthreads = 4\n");
        assert!(told.contains("name stands in a comment"), "{told}");
        assert!(
            told.contains("pool.threads follows from the machine"),
            "{told}"
        );
        let told = found("name = \"b\"\n[pool]\nsize = 3\n# threads = 4\n");
        assert!(
            told.starts_with("name is ") && told.contains("\"a\""),
            "{told}"
        );
        let told = found("name = \"a\"\n[pool]\nsize = 3\n# threads = 4\n# sise = 3\n");
        assert!(told.starts_with("uncommented: unknown field"), "{told}");
    }
}
