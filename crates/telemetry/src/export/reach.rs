//! Whether the collector answers, said once.

use std::cell::Cell;

use tracing::{info, warn};

use super::destination::Destination;

/// The way to one collector, as both kinds of records see it.
#[derive(Debug)]
pub(super) struct Reach {
    endpoint: String,
    /// How many kinds of records do not get through.
    held_up: Cell<usize>,
}

/// What one kind of records knows of the way.
#[derive(Debug, Default)]
pub(super) struct Way {
    is_held_up: bool,
    is_refused: bool,
}

impl Reach {
    pub(super) fn of(destination: &Destination) -> Self {
        Self {
            endpoint: destination.address(),
            held_up: Cell::new(0),
        }
    }

    /// Warns when the collector was reached before.
    pub(super) fn hold_up(&self, way: &mut Way, error: &str) {
        if std::mem::replace(&mut way.is_held_up, true) {
            return;
        }
        if self.held_up.replace(self.held_up.get() + 1) == 0 {
            warn!(
                endpoint = self.endpoint,
                error, "the collector cannot be reached; traces and logs wait for it"
            );
        }
    }

    /// Tells when all that was held up gets through again.
    pub(super) fn get_through(&self, way: &mut Way) {
        if !std::mem::take(&mut way.is_held_up) {
            return;
        }
        self.held_up.set(self.held_up.get() - 1);
        if self.held_up.get() == 0 {
            info!(endpoint = self.endpoint, "the collector answers again");
        }
    }

    /// Warns when the collector took such records before.
    pub(super) fn refuse(&self, way: &mut Way, signal: &str, error: &str) {
        if !std::mem::replace(&mut way.is_refused, true) {
            warn!(
                endpoint = self.endpoint,
                signal, error, "the collector refuses records; they are dropped"
            );
        }
    }

    /// The collector took everything.
    pub(super) fn accept(&self, way: &mut Way, signal: &str) {
        if std::mem::take(&mut way.is_refused) {
            info!(
                endpoint = self.endpoint,
                signal, "the collector takes records again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn said(work: impl FnOnce(&Reach)) -> Vec<String> {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .without_time()
            .with_ansi(false)
            .finish();
        let reach = Reach {
            endpoint: "http://a:1".to_owned(),
            held_up: Cell::new(0),
        };
        tracing::subscriber::with_default(subscriber, || work(&reach));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn both_kinds_of_records_are_told_as_one() {
        let said = said(|reach| {
            let (mut traces, mut logs) = (Way::default(), Way::default());
            for _ in 0..3 {
                reach.hold_up(&mut traces, "refused");
                reach.hold_up(&mut logs, "refused");
            }
            reach.get_through(&mut logs);
            reach.get_through(&mut logs);
            reach.get_through(&mut traces);
            reach.hold_up(&mut logs, "refused");
        });
        let levels: Vec<_> = said
            .iter()
            .map(|line| line.trim().split(' ').next())
            .collect();
        assert_eq!(
            levels,
            [Some("WARN"), Some("INFO"), Some("WARN")],
            "{said:?}"
        );
        assert!(said[0].contains("http://a:1") && said[0].contains("refused"));
    }

    #[test]
    fn a_refusal_is_told_once_for_each_kind() {
        let said = said(|reach| {
            let (mut traces, mut logs) = (Way::default(), Way::default());
            for _ in 0..3 {
                reach.refuse(&mut logs, "logs", "unimplemented");
                reach.accept(&mut traces, "traces");
            }
            reach.accept(&mut logs, "logs");
        });
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("WARN") && said[0].contains("unimplemented"));
        assert!(said[1].contains("INFO") && said[1].contains("\"logs\""));
    }
}
