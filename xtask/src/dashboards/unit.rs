//! What a number measures, so that a panel's unit can be held against its query.

use std::fmt;

/// A product of powers of seconds and bytes; a count or a share is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    seconds: i8,
    bytes: i8,
}

impl Unit {
    pub(super) const ONE: Self = Self::of(0, 0);
    pub(super) const SECONDS: Self = Self::of(1, 0);

    const fn of(seconds: i8, bytes: i8) -> Self {
        Self { seconds, bytes }
    }

    /// By the word of the catalogue.
    pub(super) fn named(word: &str) -> Option<Self> {
        match word {
            "count" | "ratio" => Some(Self::ONE),
            "seconds" => Some(Self::SECONDS),
            "bytes" => Some(Self::of(0, 1)),
            _ => None,
        }
    }

    /// By Grafana's id of the unit that a panel shows. Only those are here whose numbers are shown
    /// as exported: no milliseconds, no percentages of 100.
    pub(super) fn shown_as(id: &str) -> Option<Self> {
        match id {
            "short" | "none" | "percentunit" => Some(Self::ONE),
            "s" => Some(Self::SECONDS),
            "bytes" => Some(Self::of(0, 1)),
            "binBps" => Some(Self::of(-1, 1)),
            "ops" | "reqps" | "wps" | "rps" | "cpm" => Some(Self::of(-1, 0)),
            _ => None,
        }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self::of(self.seconds + other.seconds, self.bytes + other.bytes)
    }

    pub(super) fn per(self, other: Self) -> Self {
        Self::of(self.seconds - other.seconds, self.bytes - other.bytes)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.seconds, self.bytes) {
            (0, 0) => f.write_str("a count or a share"),
            (1, 0) => f.write_str("seconds"),
            (0, 1) => f.write_str("bytes"),
            (-1, 0) => f.write_str("a count per second"),
            (-1, 1) => f.write_str("bytes per second"),
            (seconds, bytes) => write!(f, "seconds^{seconds} · bytes^{bytes}"),
        }
    }
}
