//! A record as one line of JSON.

use std::time::SystemTime;

use humantime::format_rfc3339_micros;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::record::LogRecord;
use crate::trace::Value;

/// The line, with its end.
pub(super) fn line(record: &LogRecord) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    serde_json::to_writer(&mut line, record)?;
    line.push(b'\n');
    Ok(line)
}

impl Serialize for LogRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = serializer.serialize_map(None)?;
        keys.serialize_entry("timestamp", &timestamp(self.at))?;
        keys.serialize_entry("level", self.level.as_str())?;
        keys.serialize_entry("logger", self.logger)?;
        keys.serialize_entry("module", self.module)?;
        keys.serialize_entry("message", &self.message)?;
        keys.serialize_entry("function", self.function)?;
        keys.serialize_entry("line", &self.line)?;
        keys.serialize_entry("service", self.service)?;
        if let Some((trace, span)) = self.place {
            keys.serialize_entry("trace_id", &format_args!("{trace}"))?;
            keys.serialize_entry("span_id", &format_args!("{span}"))?;
        }
        for (name, value) in &self.fields {
            match value {
                Value::Word(word) => keys.serialize_entry(name, word)?,
                Value::Text(text) => keys.serialize_entry(name, text)?,
                Value::Int(value) => keys.serialize_entry(name, value)?,
                // One that is not finite becomes null.
                Value::Float(value) => match narrow(*value) {
                    Some(value) => keys.serialize_entry(name, &value)?,
                    None => keys.serialize_entry(name, value)?,
                },
                Value::Bool(value) => keys.serialize_entry(name, value)?,
            }
        }
        keys.end()
    }
}

/// The number as an `f32`, if it was one: an event only takes `f64`, which makes 0.9200000166893005
/// of 0.92.
#[expect(
    clippy::cast_possible_truncation,
    reason = "compared afterwards, bit by bit"
)]
fn narrow(value: f64) -> Option<f32> {
    let narrow = value as f32;
    (f64::from(narrow).to_bits() == value.to_bits()).then_some(narrow)
}

fn timestamp(at: SystemTime) -> String {
    format_rfc3339_micros(at).to_string()
}
