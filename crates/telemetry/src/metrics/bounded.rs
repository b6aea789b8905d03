//! Label values that come from outside, in a number that cannot grow without end.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounter;

/// What all values beyond the bound are called.
pub const OTHER: &str = "__other__";

/// Longest value that becomes a label; a longer one is somebody's mistake or malice.
const VALUE_MAX: usize = 128;

/// The first `max` values keep their names; the rest are [`OTHER`], and counted. Clones share them.
#[derive(Debug, Clone)]
pub struct Bounded {
    seen: Arc<Mutex<HashSet<Box<str>>>>,
    max: usize,
    // None only while a registry makes its own metrics.
    overflow: Option<IntCounter>,
}

impl Bounded {
    pub(super) fn new(max: usize, overflow: Option<IntCounter>) -> Self {
        Self {
            seen: Arc::default(),
            max,
            overflow,
        }
    }

    /// What `value` is called in a label.
    #[must_use]
    pub fn admit<'a>(&self, value: &'a str) -> &'a str {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(value) {
            return value;
        }
        if seen.len() >= self.max || value.is_empty() || value.len() > VALUE_MAX {
            drop(seen);
            if let Some(overflow) = &self.overflow {
                overflow.inc();
            }
            return OTHER;
        }
        seen.insert(value.into());
        value
    }

    /// Makes room: nobody is called `value` any more.
    pub fn release(&self, value: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(value);
    }
}
