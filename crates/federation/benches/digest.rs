//! How fast a model's bytes are digested, beside reading them: BLAKE3, which names bodies, and SHA-256,
//! which would do as well.
//!
//! Prints one JSON line for each. Digesting and reading take turns, and each turn's share is that of
//! its own pair. One thread, as a body is digested piece by piece while it moves.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use std::hint::black_box;
use std::time::Instant;

use federation::digest::Digester;
use sha2::{Digest as _, Sha256};

/// A model of 10 M numbers, which no cache holds.
const BYTES: usize = 40_000_000;

/// Bytes that come together.
const CHUNK: usize = 512 * 1024;

/// Turns, unless `--short` asks for one.
const PAIRS: usize = 9;

fn main() {
    let is_short = std::env::args().any(|word| word == "--short");
    let turns = if is_short { 1 } else { PAIRS };
    let bytes: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
    for (name, digest) in [("BLAKE3", blake3 as fn(&[u8])), ("SHA-256", sha256)] {
        let pairs: Vec<_> = (0..turns)
            .map(|_| (seconds(&bytes, read), seconds(&bytes, digest)))
            .collect();
        let [_, read, _] = of(&pairs, |pair| pair.0);
        let [_, digested, _] = of(&pairs, |pair| pair.1);
        let [low, share, high] = of(&pairs, |pair| pair.0 / pair.1);
        println!(
            "{{\"digest\":\"{name}\",\"read_gbs\":{:.2},\"digest_gbs\":{:.2},\"share\":{share:.3},\
             \"share_lowest\":{low:.3},\"share_highest\":{high:.3}}}",
            BYTES as f64 / read / 1e9,
            BYTES as f64 / digested / 1e9,
        );
    }
}

fn blake3(bytes: &[u8]) {
    let mut digester = Digester::default();
    bytes.chunks(CHUNK).for_each(|chunk| digester.update(chunk));
    black_box(digester.finish());
}

fn sha256(bytes: &[u8]) {
    let mut digester = Sha256::new();
    bytes.chunks(CHUNK).for_each(|chunk| digester.update(chunk));
    black_box(digester.finalize());
}

/// A sum over whole cache lines at a time, so that memory is the limit.
fn read(bytes: &[u8]) {
    let mut lanes = [0_u8; 256];
    let (rows, _) = bytes.as_chunks::<256>();
    for row in rows {
        for (lane, byte) in lanes.iter_mut().zip(row) {
            *lane = lane.wrapping_add(*byte);
        }
    }
    black_box(lanes);
}

fn seconds(bytes: &[u8], work: fn(&[u8])) -> f64 {
    let start = Instant::now();
    work(black_box(bytes));
    start.elapsed().as_secs_f64()
}

/// The lowest, the median and the highest of a figure.
fn of(pairs: &[(f64, f64)], figure: fn(&(f64, f64)) -> f64) -> [f64; 3] {
    let mut figures: Vec<_> = pairs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    [0, figures.len() / 2, figures.len() - 1].map(|index| figures[index])
}
