//! How the rows of a data set are dealt to clients.
//!
//! A partition follows from the labels, the scheme and a seed. It covers every row exactly once,
//! and every client holds at least one row.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::num::NonZeroU32;

use rand::seq::SliceRandom;
use thiserror::Error;

use crate::seed;

mod deal;
mod proportions;

pub use proportions::Concentration;

/// Who gets which rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartitionSpec {
    /// By which rule.
    pub scheme: Scheme,
    /// Among how many.
    pub clients: NonZeroU32,
    /// The seed of the deal.
    pub seed: u64,
}

/// The rule by which rows are dealt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scheme {
    /// Shuffled rows in equal numbers, to within one.
    Iid,
    /// For each label, the clients' parts of its rows are drawn from Dir(α).
    ///
    /// # Source
    ///
    /// Yurochkin et al. 2019, section 4, <https://arxiv.org/abs/1905.12022>; also "distribution-based
    /// label imbalance" of Li et al. 2022, <https://arxiv.org/abs/2102.02079>, whose code in
    /// addition stops feeding clients that have their even share and redraws until each holds ten
    /// rows. Neither is done here. Not the per-client draw of Hsu et al. 2019.
    Dirichlet {
        /// Large is even, small is one client per label.
        alpha: Concentration,
    },
    /// Each client holds rows of at most so many labels, and a label's rows are split evenly among
    /// those who hold it. Labels are dealt from shuffled decks, so that each is held equally often
    /// to within one.
    ///
    /// # Source
    ///
    /// "Quantity-based label imbalance", `#C = k`, of Li et al. 2022, <https://arxiv.org/abs/2102.02079>,
    /// who draw labels independently and so may leave one out.
    LabelsPerClient {
        /// At most how many.
        labels: NonZeroU32,
    },
    /// The clients' parts of the shuffled rows are drawn from Dir(α): unequal sizes, even labels.
    ///
    /// # Source
    ///
    /// "Quantity skew" of Li et al. 2022, <https://arxiv.org/abs/2102.02079>.
    QuantitySkew {
        /// Large is even, small is one client with nearly all rows.
        alpha: Concentration,
    },
}

/// Why rows cannot be dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartitionError {
    /// Nothing to deal.
    #[error("the data set has no training rows to deal to clients")]
    NoRows,
    /// Row indices are `u32`.
    #[error("the data set has {rows} training rows; at most {max} can be dealt", max = u32::MAX)]
    TooManyRows {
        /// How many there are.
        rows: usize,
    },
    /// Someone would go without.
    #[error("{clients} clients cannot each hold a row: the data set has {rows} training rows")]
    MoreClientsThanRows {
        /// How many clients.
        clients: u32,
        /// How many rows.
        rows: usize,
    },
    /// The labels and the number of classes disagree.
    #[error("row {row} has label {label}, but there are {classes} classes, counted from 0")]
    LabelOutOfRange {
        /// Which row, from 0.
        row: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: u32,
    },
    /// A scheme that goes by labels, where there are none.
    #[error(
        "rows with targets in place of labels can be dealt iid or by quantity_skew, and not by their \
         labels"
    )]
    NoLabels,
    /// Some label would be held by nobody.
    #[error(
        "labels per client is {labels}; {clients} clients cannot then hold the {present} labels of the \
         data set"
    )]
    TooFewLabels {
        /// How many clients.
        clients: u32,
        /// How many labels each may hold.
        labels: u32,
        /// How many labels have rows.
        present: usize,
    },
}

/// Deals the rows `0..labels.len()`.
///
/// A scheme may leave clients without rows; each of them is then given one row of whoever holds
/// most (the first of equals), which respects the bound of [`Scheme::LabelsPerClient`].
///
/// # Shapes
///
/// - `labels`: `[rows]`, each below `classes`
/// - output: `[clients]`, each the ascending rows of one client
///
/// # Errors
///
/// [`PartitionError`] when there are no rows, fewer than clients, a label out of range, or labels
/// that nobody may hold.
pub fn assign(
    labels: &[u32],
    classes: u32,
    spec: &PartitionSpec,
) -> Result<Vec<Vec<u32>>, PartitionError> {
    let rows = count_rows(labels, classes, spec)?;
    let clients = spec.clients.get() as usize;
    let mut rng = seed::stream(spec.seed, "partition", &[]);
    let mut shuffled: Vec<u32> = (0..rows).collect();
    shuffled.shuffle(&mut rng);

    let mut shards = match spec.scheme {
        Scheme::Iid => deal::evenly(&shuffled, clients),
        Scheme::QuantitySkew { alpha } => deal::unevenly(&shuffled, clients, alpha, &mut rng),
        Scheme::Dirichlet { alpha } => {
            let by_label = group(&shuffled, labels);
            deal::labels_unevenly(&by_label, clients, alpha, &mut rng)
        }
        Scheme::LabelsPerClient { labels: most } => {
            let by_label = group(&shuffled, labels);
            if (by_label.len() as u64) > u64::from(most.get()) * clients as u64 {
                return Err(PartitionError::TooFewLabels {
                    clients: spec.clients.get(),
                    labels: most.get(),
                    present: by_label.len(),
                });
            }
            deal::few_labels(&by_label, clients, most.get() as usize, &mut rng)
        }
    };
    feed_the_empty(&mut shards);
    for shard in &mut shards {
        shard.sort_unstable();
    }
    Ok(shards)
}

/// Deals `rows` rows that have no labels.
///
/// # Shapes
///
/// Output: `[clients]`, each the ascending rows of one client.
///
/// # Errors
///
/// As [`assign`], and [`PartitionError::NoLabels`] for a scheme that deals by labels.
pub fn assign_unlabelled(
    rows: usize,
    spec: &PartitionSpec,
) -> Result<Vec<Vec<u32>>, PartitionError> {
    match spec.scheme {
        Scheme::Iid | Scheme::QuantitySkew { .. } => assign(&vec![0; rows], 1, spec),
        Scheme::Dirichlet { .. } | Scheme::LabelsPerClient { .. } => Err(PartitionError::NoLabels),
    }
}

/// How many rows of each label each client holds.
///
/// # Shapes
///
/// - `assignment`: `[clients]` lists of rows
/// - `labels`: `[rows]`
/// - output: `[clients][classes]`
///
/// # Panics
///
/// When a row or its label is out of range; an assignment by [`assign`] from the same labels has
/// none.
#[must_use]
pub fn histogram(assignment: &[Vec<u32>], labels: &[u32], classes: u32) -> Vec<Vec<u64>> {
    let count = |shard: &Vec<u32>| {
        let mut counts = vec![0; classes as usize];
        for &row in shard {
            counts[labels[row as usize] as usize] += 1;
        }
        counts
    };
    assignment.iter().map(count).collect()
}

fn count_rows(labels: &[u32], classes: u32, spec: &PartitionSpec) -> Result<u32, PartitionError> {
    let rows = labels.len();
    let counted = u32::try_from(rows).map_err(|_too_large| PartitionError::TooManyRows { rows })?;
    if counted == 0 {
        return Err(PartitionError::NoRows);
    }
    if counted < spec.clients.get() {
        return Err(PartitionError::MoreClientsThanRows {
            clients: spec.clients.get(),
            rows,
        });
    }
    match labels.iter().position(|&label| label >= classes) {
        Some(row) => Err(PartitionError::LabelOutOfRange {
            row,
            label: labels[row],
            classes,
        }),
        None => Ok(counted),
    }
}

/// The rows of each label that has any, labels ascending, rows in the given order.
fn group(rows: &[u32], labels: &[u32]) -> Vec<Vec<u32>> {
    let present: BTreeSet<u32> = labels.iter().copied().collect();
    let present: Vec<u32> = present.into_iter().collect();
    let mut groups = vec![Vec::new(); present.len()];
    for &row in rows {
        let group = present.partition_point(|&label| label < labels[row as usize]);
        groups[group].push(row);
    }
    groups
}

fn feed_the_empty(shards: &mut [Vec<u32>]) {
    let (empty, full): (Vec<usize>, Vec<usize>) =
        (0..shards.len()).partition(|&client| shards[client].is_empty());
    let mut by_size: BinaryHeap<(usize, Reverse<usize>)> = full
        .into_iter()
        .map(|client| (shards[client].len(), Reverse(client)))
        .collect();
    for client in empty {
        if let Some((size, Reverse(donor))) = by_size.pop() {
            let row = shards[donor].pop();
            shards[client].extend(row);
            by_size.push((size - 1, Reverse(donor)));
        }
    }
}

#[cfg(test)]
mod tests;
