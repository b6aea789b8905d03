//! A record as one line for people: when, how serious, who, what, and the rest of it.

use std::fmt::{self, Write};

use humantime::format_rfc3339_millis;
use tracing::Level;

use super::record::LogRecord;
use crate::trace::Value;

/// How to colour what follows on a terminal.
const DIM: &str = "\x1b[2m";
const BOLD_RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const BLUE: &str = "\x1b[34m";
const PLAIN: &str = "\x1b[0m";

/// The line, with its end.
pub(super) fn line(record: &LogRecord, coloured: bool) -> Result<Vec<u8>, fmt::Error> {
    let mut line = String::with_capacity(256);
    let paint = |colour| if coloured { colour } else { "" };
    let (dim, plain) = (paint(DIM), paint(PLAIN));
    let (colour, level) = match record.level {
        Level::ERROR => (BOLD_RED, "ERROR"),
        Level::WARN => (YELLOW, " WARN"),
        Level::INFO => (GREEN, " INFO"),
        Level::DEBUG => (BLUE, "DEBUG"),
        Level::TRACE => (DIM, "TRACE"),
    };
    let at = format_rfc3339_millis(record.at).to_string();
    // The day is known to who is looking; the Z stays, as the hour may not be theirs.
    let time = at.split_once('T').map_or(at.as_str(), |(_, time)| time);
    let service = record.service;
    let colour = paint(colour);
    write!(
        line,
        "{dim}{time}{plain} {colour}{level}{plain} {dim}{service}"
    )?;
    // Who looks this closely wants to know which module it is.
    if record.level > Level::INFO {
        write!(line, " {}", record.logger)?;
    }
    write!(line, ":{plain} ")?;
    visible(&mut line, &record.message)?;
    for (name, value) in &record.fields {
        write!(line, " {dim}{name}={plain}")?;
        match value {
            Value::Word(word) => worded(&mut line, word)?,
            Value::Text(text) => worded(&mut line, text)?,
            Value::Int(value) => write!(line, "{value}")?,
            Value::Float(value) => readable(&mut line, *value)?,
            Value::Bool(value) => write!(line, "{value}")?,
        }
    }
    line.push('\n');
    Ok(line.into_bytes())
}

/// What could move the cursor, or begin another line, is shown as what it is.
fn visible(line: &mut String, text: &str) -> fmt::Result {
    for character in text.chars() {
        if character.is_control() {
            write!(line, "{}", character.escape_default())?;
        } else {
            line.push(character);
        }
    }
    Ok(())
}

/// One word as it is, anything else in quotes.
fn worded(line: &mut String, text: &str) -> fmt::Result {
    let is_word =
        |character: char| !character.is_whitespace() && !character.is_control() && character != '"';
    if !text.is_empty() && text.chars().all(is_word) {
        line.push_str(text);
        return Ok(());
    }
    line.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(line, "\\{character}")?,
            _ if character.is_control() => write!(line, "{}", character.escape_default())?,
            _ => line.push(character),
        }
    }
    line.push('"');
    Ok(())
}

/// As many digits as an eye takes in; the JSON form has them all.
fn readable(line: &mut String, value: f64) -> fmt::Result {
    let size = value.abs();
    if !value.is_finite() {
        return write!(line, "{value}");
    }
    if size != 0.0 && !(1e-3..1e9).contains(&size) {
        return write!(line, "{value:.3e}");
    }
    let text = format!("{value:.4}");
    line.push_str(text.trim_end_matches('0').trim_end_matches('.'));
    Ok(())
}
