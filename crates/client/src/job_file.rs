//! Jobs in files: YAML, or JSON, which is YAML too.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use federation::job::{InvalidJob, JobDraft, JobSpec};
use thiserror::Error;

/// Largest file that is read as a job; examples have about 1 KiB.
const JOB_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Longest problem that is told: the parser repeats what it did not expect, at worst a whole file.
const PROBLEM_CHARS_MAX: usize = 400;

/// Why a file is not a job.
#[derive(Debug, Error)]
pub enum JobFileError {
    /// It cannot be read.
    #[error("cannot read {file}: {cause}")]
    Read {
        /// Which file.
        file: String,
        /// Why not.
        cause: io::Error,
    },
    /// It is not what a person writes.
    #[error("{file}: has more than {JOB_FILE_BYTES_MAX} bytes; a job has fewer")]
    TooLarge {
        /// Which file.
        file: String,
    },
    /// Its text is not a job's.
    #[error("{file}:{line}: {problem}")]
    Text {
        /// Which file.
        file: String,
        /// From 1.
        line: usize,
        /// Which field, and what would be right.
        problem: String,
    },
    /// Its values are not accepted; prints them all, one on each line.
    #[error("{}", one_per_line(.file, .invalid))]
    Values {
        /// Which file.
        file: String,
        /// What is wrong.
        invalid: InvalidJob,
    },
}

/// Reads the job in the file at `path`.
///
/// # Errors
///
/// [`JobFileError`] names the file, and the line where there is one.
pub fn read(path: &Path) -> Result<JobDraft, JobFileError> {
    let file = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|open| open.take(JOB_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > JOB_FILE_BYTES_MAX => Err(JobFileError::TooLarge { file }),
        Ok(_) => parse(&text, &file),
        Err(cause) => Err(JobFileError::Read { file, cause }),
    }
}

/// Reads the job in `text`, which came from `file`.
///
/// # Errors
///
/// [`JobFileError::Text`].
pub fn parse(text: &str, file: &str) -> Result<JobDraft, JobFileError> {
    serde_yaml_ng::from_str(text).map_err(|error| JobFileError::Text {
        file: file.to_owned(),
        line: error.location().map_or(1, |location| location.line()),
        problem: in_words(&error).chars().take(PROBLEM_CHARS_MAX).collect(),
    })
}

/// Checks the values of a job that came from `file`.
///
/// # Errors
///
/// [`JobFileError::Values`] with every value that is not accepted.
pub fn check(draft: JobDraft, file: &str) -> Result<JobSpec, JobFileError> {
    JobSpec::try_from(draft).map_err(|invalid| JobFileError::Values {
        file: file.to_owned(),
        invalid,
    })
}

/// The parser's words without the place, which is told before them, and with the whole path of a
/// field that is unknown or missing.
fn in_words(error: &serde_yaml_ng::Error) -> String {
    let text = error.to_string();
    let text = match error.location() {
        Some(at) => {
            let place = format!(" at line {} column {}", at.line(), at.column());
            text.replacen(&place, "", 1)
        }
        None => text,
    };
    for (told, said) in [
        ("unknown field `", "unknown key"),
        ("missing field `", "is missing"),
        ("duplicate field `", "is there twice"),
    ] {
        // Before the words stands the path of the map that the field is in, if that has one.
        let found = text.split_once(told);
        if let Some((path, rest)) =
            found.filter(|(path, _)| path.is_empty() || path.ends_with(": "))
            && let Some((field, rest)) = rest.split_once('`')
        {
            let path = path.trim_end_matches(": ");
            let dot = if path.is_empty() { "" } else { "." };
            let rest = rest.trim_start_matches(", ");
            let rest = if rest.is_empty() {
                String::new()
            } else {
                format!("; {rest}")
            };
            return format!("{path}{dot}{field}: {said}{rest}");
        }
    }
    text
}

fn one_per_line(file: &str, invalid: &InvalidJob) -> String {
    let lines: Vec<String> = invalid
        .violations
        .iter()
        .map(|violation| format!("{file}: {violation}"))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "\
name: digits
model: { kind: mlp, hidden: [64], activation: relu }
dataset:
  name: digits
  partition: { kind: dirichlet, alpha: 0.5, clients: 8 }
local:
  epochs: 2
  batch_size: 32
  optimizer: { kind: sgd, learning_rate: 0.05 }
rounds: 20
";

    /// What is said of [`DIGITS`] with one part of its text replaced.
    fn refusal(part: &str, replacement: &str) -> String {
        assert!(DIGITS.contains(part), "{part:?} is not in the text");
        let text = DIGITS.replacen(part, replacement, 1);
        let read = parse(&text, "job.yaml").and_then(|draft| check(draft, "job.yaml"));
        read.unwrap_err().to_string()
    }

    #[test]
    fn yaml_and_json_say_the_same_job() {
        let draft = parse(DIGITS, "job.yaml").unwrap();
        let json = r#"{"name": "digits",
            "model": {"kind": "mlp", "hidden": [64], "activation": "relu"},
            "dataset": {"name": "digits",
                "partition": {"kind": "dirichlet", "alpha": 0.5, "clients": 8}},
            "local": {"epochs": 2, "batch_size": 32,
                "optimizer": {"kind": "sgd", "learning_rate": 0.05}},
            "rounds": 20}"#;
        assert_eq!(parse(json, "job.json").unwrap(), draft);
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_its_path_and_the_known_ones() {
        assert_eq!(
            refusal("batch_size: 32", "bach_size: 32"),
            "job.yaml:8: local.bach_size: unknown key; expected one of `epochs`, `steps`, \
             `batch_size`, `optimizer`, `schedule`, `clip_norm`"
        );
        assert!(refusal("rounds: 20", "round: 20").starts_with("job.yaml:10: round: unknown key"));
    }

    #[test]
    fn a_missing_key_is_told_with_its_path() {
        assert_eq!(
            refusal("rounds: 20\n", ""),
            "job.yaml:1: rounds: is missing"
        );
        let told = refusal("  name: digits\n", "");
        assert_eq!(told, "job.yaml:4: dataset.name: is missing");
    }

    #[test]
    fn a_wrong_type_is_told_with_its_line_and_path() {
        assert_eq!(
            refusal("rounds: 20", "rounds: many"),
            "job.yaml:10: rounds: invalid type: string \"many\", expected a whole number from 0 to \
             2^32-1"
        );
    }

    #[test]
    fn text_that_is_no_yaml_is_told_with_its_line() {
        let told = refusal("rounds: 20", "rounds: [20");
        assert!(told.starts_with("job.yaml:1"), "{told}");
        assert!(
            parse("", "job.yaml")
                .unwrap_err()
                .to_string()
                .starts_with("job.yaml:1: ")
        );
    }

    #[test]
    fn every_value_that_is_not_accepted_has_a_line() {
        let told = refusal("epochs: 2\n  batch_size: 32", "epochs: 0\n  batch_size: 0");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].starts_with("job.yaml: local.epochs: is 0; must be"));
        assert!(lines[1].starts_with("job.yaml: local.batch_size: is 0; must be"));
    }

    #[test]
    fn a_file_that_is_not_there_or_not_text_is_named() {
        let told = read(Path::new("/nowhere/job.yaml"))
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with("cannot read /nowhere/job.yaml: "),
            "{told}"
        );

        let mut large = tempfile::NamedTempFile::new().unwrap();
        io::copy(
            &mut io::repeat(b' ').take(JOB_FILE_BYTES_MAX + 1),
            &mut large,
        )
        .unwrap();
        let told = read(large.path()).unwrap_err().to_string();
        assert!(told.contains("has more than 1048576 bytes"), "{told}");
    }
}
