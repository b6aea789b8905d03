//! What happened, line by line: the same lines, to the byte, whenever the seed is the same.

use std::fmt::{self, Debug, Write};
use std::sync::LazyLock;
use std::time::Duration;

use federation::Digest;
use regex::Regex;

/// Where a message is in a trace: ids of chance, which decide nothing.
static PLACES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-9a-f]").expect("a pattern that is one")
});

/// The digest of what a call is made with.
pub(crate) fn digest(arguments: &dyn Debug) -> Digest {
    let shown = format!("{arguments:?}");
    Digest::of(PLACES.replace_all(&shown, "traceparent").as_bytes())
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(crate) struct Log {
    text: String,
    lines: usize,
}

impl Log {
    /// Writes down what happened at `time`.
    pub(crate) fn write(&mut self, time: Duration, what: fmt::Arguments<'_>) {
        // A text takes all that is written.
        let _written = writeln!(self.text, "{:>12.3} {what}", time.as_secs_f64());
        self.lines += 1;
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
