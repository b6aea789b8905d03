//! The layer that makes a record of each event and hands it to everybody who wants one.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::Context;

use super::files::Files;
use super::record::LogRecord;
use super::{json, text};
use crate::export::Outbox;
use crate::metrics::IntCounter;

/// How a line looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Text { coloured: bool },
    Json,
}

pub(super) struct Logbook {
    pub(super) service: &'static str,
    pub(super) guests: &'static [&'static str],
    pub(super) form: Form,
    pub(super) writer: BoxMakeWriter,
    pub(super) files: Option<Files>,
    pub(super) outbox: Option<Arc<Outbox<LogRecord>>>,
    pub(super) lost: Option<IntCounter>,
}

impl Logbook {
    /// The service whose crate `target` is in: `pangea-training-worker` for `training_worker::lease`.
    fn speaker(&self, target: &str) -> &'static str {
        let of = target.split("::").next().unwrap_or(target);
        let is_of = |guest: &str| {
            let name = guest.rsplit_once("pangea-").map_or(guest, |(_, name)| name);
            name.len() == of.len() && name.replace('-', "_") == of
        };
        let guest = self.guests.iter().find(|guest| is_of(guest));
        guest.copied().unwrap_or(self.service)
    }

    /// Writes the lines. That one could not be written (the reader of a pipe went away, a disk is
    /// full) is counted and not told: this is where it would be told.
    fn write(&self, record: &LogRecord) {
        let json = match (self.form, &self.files) {
            (Form::Text { .. }, None) => None,
            _ => json::line(record).ok(),
        };
        let text = match self.form {
            Form::Text { coloured } => text::line(record, coloured).ok(),
            Form::Json => None,
        };
        if let Some(line) = text.as_ref().or(json.as_ref()) {
            self.count(self.writer.make_writer().write_all(line));
        }
        if let (Some(files), Some(line)) = (&self.files, json) {
            self.count(files.write(record, &line));
        }
    }

    fn count(&self, written: io::Result<()>) {
        if let (Err(_), Some(lost)) = (written, &self.lost) {
            lost.inc();
        }
    }
}

impl<S: Subscriber> Layer<S> for Logbook {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let record = LogRecord::of(event, self.speaker(event.metadata().target()));
        self.write(&record);
        // What the exporters say of their own troubles would be sent by them, and so on.
        if let Some(outbox) = &self.outbox
            && !super::is_sending_thread()
        {
            outbox.put(record);
        }
    }
}

impl fmt::Debug for Logbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logbook")
            .field("service", &self.service)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
