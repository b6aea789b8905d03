//! Reads variables one by one and keeps what is wrong with them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::problem::Problem;

/// The variables, and those of them that could not be read so far.
pub(super) struct Variables<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            variable,
            problems: Vec::new(),
        }
    }

    /// What the variable holds; nothing if that is empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = (self.variable)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// What the variable says, if it says something that `read` understands.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.refuse(name, &text, accepted);
        }
        value
    }

    pub(super) fn switch(&mut self, name: &'static str, default: bool) -> bool {
        let on = self.read(name, "true or false", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            }
        });
        on.unwrap_or(default)
    }

    pub(super) fn number<N>(
        &mut self,
        name: &'static str,
        default: N,
        range: RangeInclusive<N>,
    ) -> N
    where
        N: FromStr + PartialOrd + Display,
    {
        let accepted = format!("a whole number, {} to {}", range.start(), range.end());
        let number = self.read(name, &accepted, |text| {
            text.parse().ok().filter(|number| range.contains(number))
        });
        number.unwrap_or(default)
    }

    pub(super) fn refuse(&mut self, name: &'static str, value: &str, accepted: impl Into<String>) {
        self.problems.push(Problem::new(name, value, accepted));
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// `key=value,key=value` with percent signs before what is no text, as in W3C baggage.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim);
    let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
        let (key, value) = part.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim());
        let key = key.trim().to_owned();
        (!key.is_empty()).then_some((key, value.decode_utf8().ok()?.into_owned()))
    });
    pairs.collect()
}
