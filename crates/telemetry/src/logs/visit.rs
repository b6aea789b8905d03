//! What the fields of an event say, each with its type.

use std::error::Error;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};

use crate::Causes;
use crate::trace::Value;

/// Most bytes of one text. Docker cuts lines at 16 KiB, and half a JSON object is none.
const TEXT_MAX: usize = 8 * 1024;

/// What a field is called instead where a part of the record has its name already.
const TAKEN: [(&str, &str); 9] = [
    ("timestamp", "event_timestamp"),
    ("level", "event_level"),
    ("logger", "event_logger"),
    ("module", "event_module"),
    ("function", "event_function"),
    ("line", "event_line"),
    ("service", "event_service"),
    ("trace_id", "event_trace_id"),
    ("span_id", "event_span_id"),
];

/// The message of an event and its other fields.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Said {
    fn say(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let name = TAKEN
            .iter()
            .find(|(taken, _)| *taken == name)
            .map_or(name, |(_, instead)| instead);
        // A field that is named twice would make two keys of one name; the last word counts.
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.fields.push((name, value)),
        }
    }

    fn text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.say(field, Value::Text(text));
        }
    }
}

impl Visit for Said {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.say(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_u128(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.say(field, Value::Int(value)),
            Err(_) => self.say(field, Value::Text(value.to_string())),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match i64::try_from(value) {
            Ok(value) => self.say(field, Value::Int(value)),
            Err(_) => self.say(field, Value::Text(value.to_string())),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.say(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.say(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, bounded(format_args!("{value}")));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, bounded(format_args!("{}", Causes(value))));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, bounded(format_args!("{value:?}")));
    }
}

/// As much of a text as may be logged. The rest is not even made.
fn bounded(text: fmt::Arguments<'_>) -> String {
    let mut bounded = Bounded::default();
    if bounded.write_fmt(text).is_err() && bounded.is_full {
        bounded.text.push('…');
    }
    bounded.text
}

#[derive(Default)]
struct Bounded {
    text: String,
    is_full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = TEXT_MAX - self.text.len();
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        self.text.push_str(&part[..part.floor_char_boundary(room)]);
        self.is_full = true;
        Err(fmt::Error)
    }
}
