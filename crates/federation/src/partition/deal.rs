//! One function per scheme. Rows come in shuffled, and some clients may end up with none.

use rand::Rng;
use rand::seq::SliceRandom;

use super::Concentration;
use crate::fraction;

/// Equal numbers, to within one.
pub(super) fn evenly(rows: &[u32], clients: usize) -> Vec<Vec<u32>> {
    even_parts(rows, clients).map(<[u32]>::to_vec).collect()
}

/// Parts drawn from Dir(α).
pub(super) fn unevenly(
    rows: &[u32],
    clients: usize,
    alpha: Concentration,
    rng: &mut impl Rng,
) -> Vec<Vec<u32>> {
    let mut shards = vec![Vec::new(); clients];
    cut(rows, &alpha.divide(clients, rng), &mut shards);
    shards
}

/// For each label, parts drawn from Dir(α).
pub(super) fn labels_unevenly(
    by_label: &[Vec<u32>],
    clients: usize,
    alpha: Concentration,
    rng: &mut impl Rng,
) -> Vec<Vec<u32>> {
    let mut shards = vec![Vec::new(); clients];
    for rows in by_label {
        cut(rows, &alpha.divide(clients, rng), &mut shards);
    }
    shards
}

/// At most `most` labels each, and each label's rows evenly among its holders.
///
/// Needs `clients * most` to be at least the number of labels.
pub(super) fn few_labels(
    by_label: &[Vec<u32>],
    clients: usize,
    most: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<u32>> {
    let mut shards = vec![Vec::new(); clients];
    let mut holders = deal_labels(by_label.len(), clients, most, rng);
    for (rows, holders) in by_label.iter().zip(&mut holders) {
        // The first parts are the larger ones; without this they would go to the first clients.
        holders.shuffle(rng);
        for (part, &holder) in even_parts(rows, holders.len()).zip(&*holders) {
            shards[holder].extend_from_slice(part);
        }
    }
    shards
}

/// The clients that hold each label.
///
/// Clients take labels from the top of a shuffled deck and open another when it runs out; a label
/// that a client has already stays in the deck for the next one.
fn deal_labels(labels: usize, clients: usize, most: usize, rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let most = most.min(labels);
    let mut holders: Vec<Vec<usize>> = vec![Vec::new(); labels];
    let mut deck: Vec<usize> = Vec::new();
    for client in 0..clients {
        let mut held = 0;
        while held < most {
            let wanted = |label: &usize| holders[*label].last() != Some(&client);
            if let Some(top) = deck.iter().rposition(wanted) {
                holders[deck.remove(top)].push(client);
                held += 1;
            } else {
                // Only an empty deck lacks a wanted label: one deck has each label once, and a
                // client takes no more labels than there are.
                deck = (0..labels).collect();
                deck.shuffle(rng);
            }
        }
    }
    holders
}

/// Cuts `rows` by `proportions`, which sum to one, and hands each client its part.
fn cut(rows: &[u32], proportions: &[f64], shards: &mut [Vec<u32>]) {
    let mut until = 0.0;
    let mut taken = 0;
    for (client, (part, shard)) in proportions.iter().zip(&mut *shards).enumerate() {
        until += part;
        let end = if client + 1 == proportions.len() {
            rows.len()
        } else {
            fraction::nearest(until, rows.len())
        };
        shard.extend_from_slice(&rows[taken..end]);
        taken = end;
    }
}

/// `parts` pieces of `rows` whose lengths differ by at most one, the longer ones first.
fn even_parts(rows: &[u32], parts: usize) -> impl Iterator<Item = &[u32]> {
    let (size, longer) = (rows.len() / parts, rows.len() % parts);
    let start = move |part: usize| part * size + part.min(longer);
    (0..parts).map(move |part| &rows[start(part)..start(part + 1)])
}
