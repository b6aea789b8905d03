//! The trace behind a number: for each bucket, the last kept span that fell into it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use crate::trace::{SpanId, TraceId};

/// An observation and the span that it was made in.
///
/// It carries no time: Prometheus takes that of the scrape, and reading a clock would cost as much
/// as the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The trace, as on the wire.
    pub trace: [u8; 16],
    /// The span, as on the wire.
    pub span: [u8; 8],
    /// What was observed.
    pub value: f64,
}

/// The exemplars of one series: one place for each bucket, the last for what is above all edges.
#[derive(Debug)]
pub(super) struct Exemplars {
    edges: &'static [f64],
    places: Box<[Place]>,
}

/// Written by whoever comes first; a second writer at the same moment goes away. Readers see a
/// whole exemplar or none.
#[derive(Debug, Default)]
struct Place {
    // Odd while somebody writes; 0 when nobody ever did.
    version: AtomicU64,
    words: [AtomicU64; 4],
}

impl Exemplars {
    pub(super) fn new(edges: &'static [f64]) -> Self {
        Self {
            edges,
            places: (0..=edges.len()).map(|_| Place::default()).collect(),
        }
    }

    pub(super) fn put(&self, value: f64, (trace, span): (TraceId, SpanId)) {
        let bucket = self.edges.partition_point(|edge| *edge < value);
        let [high, low] = halves(trace.to_bytes());
        let span = u64::from_be_bytes(span.to_bytes());
        self.places[bucket].write([high, low, span, value.to_bits()]);
    }

    /// By bucket.
    pub(super) fn read(&self) -> Vec<Option<Exemplar>> {
        self.places.iter().map(Place::read).collect()
    }
}

impl Place {
    fn write(&self, words: [u64; 4]) {
        let version = self.version.load(Ordering::Relaxed);
        if version % 2 == 1 {
            return;
        }
        let claimed = self.version.compare_exchange(
            version,
            version + 1,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if claimed.is_err() {
            return;
        }
        fence(Ordering::Release);
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    fn read(&self) -> Option<Exemplar> {
        let before = self.version.load(Ordering::Acquire);
        if before == 0 || before % 2 == 1 {
            return None;
        }
        let [high, low, span, value] =
            [0, 1, 2, 3].map(|at| self.words[at].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if self.version.load(Ordering::Relaxed) != before {
            return None;
        }
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&high.to_be_bytes());
        trace[8..].copy_from_slice(&low.to_be_bytes());
        Some(Exemplar {
            trace,
            span: span.to_be_bytes(),
            value: f64::from_bits(value),
        })
    }
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let whole = u128::from_be_bytes(bytes);
    let low = u64::try_from(whole & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(whole >> 64).unwrap_or(0);
    [high, low]
}

/// The exemplars of one family, by the values of its labels in the order of the labels' names.
#[derive(Debug, Default)]
pub(super) struct ExemplarTable(Mutex<HashMap<Vec<String>, Arc<Exemplars>>>);

impl ExemplarTable {
    pub(super) fn of(&self, values: Vec<String>, edges: &'static [f64]) -> Arc<Exemplars> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = table
            .entry(values)
            .or_insert_with(|| Arc::new(Exemplars::new(edges)));
        Arc::clone(series)
    }

    pub(super) fn get(&self, values: &[String]) -> Option<Arc<Exemplars>> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(values).cloned()
    }

    pub(super) fn remove(&self, values: &[String]) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.remove(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_falls_into_the_bucket_of_its_value() {
        let exemplars = Exemplars::new(&[0.1, 1.5]);
        let (trace, span) = (TraceId::random(), SpanId::random());
        for value in [0.05, 0.1, 7.0] {
            exemplars.put(value, (trace, span));
        }
        let read = exemplars.read();
        // An edge belongs to its bucket.
        assert!((read[0].unwrap().value - 0.1).abs() < f64::EPSILON);
        assert_eq!(read[1], None);
        let last = read[2].unwrap();
        assert_eq!((last.trace, last.span), (trace.to_bytes(), span.to_bytes()));
    }

    #[test]
    fn readers_see_whole_exemplars_while_others_write() {
        let exemplars = Exemplars::new(&[]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let trace = TraceId::random();
                        // The value tells whose it is.
                        #[expect(clippy::cast_precision_loss, reason = "compared with its like")]
                        let value = trace.low() as f64;
                        exemplars.put(value, (trace, SpanId::random()));
                    }
                });
            }
            for _ in 0..20_000 {
                if let Some(seen) = exemplars.read()[0] {
                    let [_, low] = halves(seen.trace);
                    #[expect(clippy::cast_precision_loss, reason = "compared with its like")]
                    let expected = low as f64;
                    assert!((seen.value - expected).abs() < f64::EPSILON);
                }
            }
        });
    }
}
