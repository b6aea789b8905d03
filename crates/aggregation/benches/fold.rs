//! What a fold takes of the memory's bandwidth: 8 updates of 10 M numbers, in bytes of input.
//!
//! Prints one JSON line for each number of threads. Folding and reading alone take turns, and each
//! turn's share is that of its own pair.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use aggregation::{Contribution, SliceSource, fold};
use federation::ClientId;

const UPDATES: u32 = 8;
const NUMBERS: usize = 10_000_000;
/// Turns, unless `--short` asks for one.
const PAIRS: usize = 9;

fn main() {
    let turns = if std::env::args().any(|word| word == "--short") {
        1
    } else {
        PAIRS
    };
    let base = numbers(0);
    let updates: Vec<_> = (1..=UPDATES).map(numbers).collect();
    for threads in [1, 2] {
        let mut pairs: Vec<_> = (0..turns)
            .map(|_| (read(&updates, threads), fold_once(&base, &updates, threads)))
            .collect();
        let bytes = f64::from(UPDATES) * NUMBERS as f64 * 4.0;
        let mut of = |figure: fn(&(f64, f64)) -> f64| {
            pairs.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
            [0, turns / 2, turns - 1].map(|index| figure(&pairs[index]))
        };
        let ([_, read, _], [_, folded, _]) = (of(|pair| pair.0), of(|pair| pair.1));
        let [low, share, high] = of(|pair| pair.0 / pair.1);
        println!(
            "{{\"threads\":{threads},\"read_gbs\":{:.2},\"fold_gbs\":{:.2},\"share\":{share:.3},\
             \"share_lowest\":{low:.3},\"share_highest\":{high:.3}}}",
            bytes / read / 1e9,
            bytes / folded / 1e9,
        );
    }
}

/// Numbers that nothing can guess.
fn numbers(seed: u32) -> Vec<f32> {
    let mut state = u64::from(seed) + 1;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f32::from(u16::try_from(state >> 48).unwrap_or(0)) / 65_536.0 - 0.5
    };
    (0..NUMBERS).map(next).collect()
}

/// Seconds of a fold whose result is looked at and let go.
fn fold_once(base: &[f32], updates: &[Vec<f32>], threads: usize) -> f64 {
    let contributions: Vec<_> = (0..)
        .zip(updates)
        .map(|(client, delta)| Contribution {
            client: ClientId(client),
            weight: 1.0 + f64::from(client),
            source: SliceSource(delta),
        })
        .collect();
    let threads = NonZeroUsize::new(threads).expect("threads are counted from 1");
    let start = Instant::now();
    let folded = fold(
        &SliceSource(base),
        &contributions,
        NUMBERS,
        threads,
        |_, tile| {
            black_box(tile);
            Ok(())
        },
    );
    folded.expect("updates that fold");
    start.elapsed().as_secs_f64()
}

/// Seconds that reading all updates takes, each thread its part of each.
fn read(updates: &[Vec<f32>], threads: usize) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for part in 0..threads {
            scope.spawn(move || {
                for update in updates {
                    let len = update.len() / threads;
                    black_box(sum(&update[part * len..][..len]));
                }
            });
        }
    });
    start.elapsed().as_secs_f64()
}

/// A sum over whole cache lines at a time, so that memory is the limit.
fn sum(numbers: &[f32]) -> u32 {
    let mut lanes = [0_u32; 64];
    let (rows, _) = numbers.as_chunks::<64>();
    for row in rows {
        for (lane, number) in lanes.iter_mut().zip(row) {
            *lane = lane.wrapping_add(number.to_bits());
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}
