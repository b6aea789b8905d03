//! Log files of a directory: a pair for each day, as JSON.
//!
//! `combined.log` has every line, `error.log` those of errors. Both are links to the file of the
//! day, such as `combined.log.2024-01-15`, and are moved in one step, so that processes may share
//! a directory: each appends whole lines.

use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use tracing::Level;
use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;

use super::InstallError;
use super::record::LogRecord;

/// Files of each kind that are kept: two weeks, to look back over a weekend and a holiday.
const DAYS_KEPT: usize = 14;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Every line, by the name under which people look for it.
const COMBINED: &str = "combined.log";
/// The lines of errors.
const ERROR: &str = "error.log";

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    combined: RollingFileAppender,
    error: RollingFileAppender,
    /// The day that the links point at, counted from 1970.
    linked: AtomicU64,
}

impl Files {
    pub(super) fn open(dir: &Path) -> Result<Self, InstallError> {
        let refused = |source| InstallError::Dir {
            dir: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(refused)?;
        Ok(Self {
            dir: dir.to_owned(),
            combined: daily(dir, COMBINED).map_err(|error| refused(io::Error::other(error)))?,
            error: daily(dir, ERROR).map_err(|error| refused(io::Error::other(error)))?,
            linked: AtomicU64::new(0),
        })
    }

    /// Writes a line that says `record`.
    pub(super) fn write(&self, record: &LogRecord, line: &[u8]) -> io::Result<()> {
        self.combined.make_writer().write_all(line)?;
        if record.level == Level::ERROR {
            self.error.make_writer().write_all(line)?;
        }
        self.link(record.at)
    }

    /// Points the links at the files of the day, once a day.
    fn link(&self, at: SystemTime) -> io::Result<()> {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = since.as_secs() / DAY.as_secs();
        if self.linked.fetch_max(day, Ordering::Relaxed) >= day {
            return Ok(());
        }
        let date = format_rfc3339_seconds(at).to_string();
        let date = date.split('T').next().unwrap_or_default();
        for name in [COMBINED, ERROR] {
            let next = self.dir.join(format!("{name}.{}", std::process::id()));
            // Left by a process that died between these two steps.
            if next.is_symlink() {
                std::fs::remove_file(&next)?;
            }
            symlink(format!("{name}.{date}"), &next)?;
            std::fs::rename(&next, self.dir.join(name))?;
        }
        Ok(())
    }
}

fn daily(dir: &Path, name: &str) -> Result<RollingFileAppender, InitError> {
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .max_log_files(DAYS_KEPT)
        .build(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::json;

    fn record(level: Level, message: &str, at: SystemTime) -> LogRecord {
        LogRecord {
            at,
            level,
            service: "kitchen",
            logger: "kitchen",
            module: "kitchen",
            function: "",
            line: 1,
            message: message.to_owned(),
            fields: Vec::new(),
            place: None,
            kept: false,
        }
    }

    fn say(files: &Files, level: Level, message: &str, at: SystemTime) {
        let record = record(level, message, at);
        let line = json::line(&record).unwrap();
        files.write(&record, &line).unwrap();
    }

    fn messages(dir: &Path, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        let message = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["message"].as_str().unwrap().to_owned()
        };
        text.lines().map(message).collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the appender asks the system too"
    )]
    fn now() -> SystemTime {
        SystemTime::now()
    }

    #[test]
    fn errors_have_a_file_of_their_own_besides() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("not/there/yet");
        let files = Files::open(&dir).unwrap();
        say(&files, Level::INFO, "round completed", now());
        say(&files, Level::ERROR, "round lost", now());
        // A second process may write to the same files.
        let other = Files::open(&dir).unwrap();
        say(&other, Level::WARN, "update rejected", now());
        assert_eq!(
            messages(&dir, COMBINED),
            ["round completed", "round lost", "update rejected"]
        );
        assert_eq!(messages(&dir, ERROR), ["round lost"]);
    }

    #[test]
    fn the_names_lead_to_the_files_of_the_day() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let noon = humantime::parse_rfc3339("2024-01-15T12:00:00Z").unwrap();
        let target = |name: &str| std::fs::read_link(dir.path().join(name)).unwrap();
        say(&files, Level::INFO, "today", noon);
        assert_eq!(target(COMBINED), Path::new("combined.log.2024-01-15"));
        say(&files, Level::INFO, "tomorrow", noon + DAY);
        assert_eq!(target(ERROR), Path::new("error.log.2024-01-16"));
        // A line of the day before that comes late leads nobody back.
        say(&files, Level::INFO, "late", noon);
        assert_eq!(target(COMBINED), Path::new("combined.log.2024-01-16"));
    }

    #[test]
    fn old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        for day in 1..=30 {
            std::fs::write(dir.path().join(format!("error.log.2020-01-{day:02}")), "").unwrap();
        }
        std::fs::write(dir.path().join("notes"), "").unwrap();
        Files::open(dir.path()).unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        let errors = names.iter().filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with(ERROR)
        });
        assert_eq!(errors.count(), DAYS_KEPT);
        assert!(names.iter().any(|name| name == "notes"));
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let dir = file.path().join("logs");
        let error = Files::open(&dir).unwrap_err().to_string();
        assert!(error.contains(&dir.display().to_string()), "{error}");
    }
}
