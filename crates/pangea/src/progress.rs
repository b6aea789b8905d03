//! How a watched run gets on, on standard error: a bar on a terminal, elsewhere a line per round.

mod tally;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use client::v1;
use indicatif::{ProgressBar, ProgressStyle};

pub use tally::{Outcome, RoundResult};

use tally::{News, Tally};

/// How often the bar moves by itself, so that a long round does not look like the end.
const TICK: Duration = Duration::from_millis(200);

/// Shows one run. Feed it each event, then [`finish`](Self::finish) it.
pub struct Progress {
    tally: Tally,
    display: Display,
}

enum Display {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send>),
    Nothing,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Progress").field(&self.tally).finish()
    }
}

impl Progress {
    /// The display that suits standard error, for a run of at most `rounds` rounds.
    #[must_use]
    pub fn on_stderr(rounds: u32) -> Self {
        if io::stderr().is_terminal() {
            Self::bar(rounds)
        } else {
            Self::lines(rounds, Box::new(io::stderr()))
        }
    }

    /// Plain lines on `writer`.
    #[must_use]
    pub fn lines(rounds: u32, writer: Box<dyn Write + Send>) -> Self {
        Self {
            tally: Tally::new(rounds),
            display: Display::Lines(writer),
        }
    }

    /// No display, only the [`Outcome`].
    #[must_use]
    pub fn silent(rounds: u32) -> Self {
        Self {
            tally: Tally::new(rounds),
            display: Display::Nothing,
        }
    }

    fn bar(rounds: u32) -> Self {
        let style = ProgressStyle::with_template("{spinner} round {pos}/{len} {bar:10} {wide_msg}");
        let bar = ProgressBar::new(rounds.into())
            .with_style(style.unwrap_or_else(|_malformed| ProgressStyle::default_bar()));
        bar.enable_steady_tick(TICK);
        Self {
            tally: Tally::new(rounds),
            display: Display::Bar(bar),
        }
    }

    /// Takes in what happened next.
    pub fn take(&mut self, event: &v1::Event) {
        let news = self.tally.take(event);
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_position(self.tally.rounds_committed().into());
                bar.set_message(self.tally.summary());
                if let Some(News::Notable(line)) = news {
                    bar.println(line);
                }
            }
            Display::Lines(writer) => {
                if let Some(News::Notable(line) | News::Round(line)) = news {
                    // The run does not depend on whether somebody reads this.
                    let _unread = writeln!(writer, "{line}");
                }
            }
            Display::Nothing => {}
        }
    }

    /// Leaves the display as it is, and gives what the run came to.
    #[must_use]
    pub fn finish(self) -> Outcome {
        if let Display::Bar(bar) = &self.display {
            bar.abandon();
        }
        self.tally.outcome()
    }
}

#[cfg(test)]
mod tests;
