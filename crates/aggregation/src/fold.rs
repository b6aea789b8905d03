//! Turns a base model and its updates into the next model.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{self, Scope};

use federation::ClientId;
use thiserror::Error;

use crate::source::TensorSource;
use crate::tile::{Folded, Scratch, Tiles};

/// Largest weight of one update. Far above any count of examples, and so small that four billion
/// such weights times the largest f32 still sum to a finite f64.
pub const WEIGHT_MAX: f64 = 1e18;

/// One client's part in a round.
#[derive(Debug, Clone)]
pub struct Contribution<S> {
    /// Whose it is; contributions are folded in this order.
    pub client: ClientId,
    /// How much it counts, in whatever the strategy counts: from 0 to [`WEIGHT_MAX`].
    pub weight: f64,
    /// The change to the parameters, `[n_params]`.
    pub source: S,
}

/// What a fold leaves behind besides the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoldReport {
    /// Σ wₖ.
    pub total_weight: f64,
    /// The Euclidean norm of Σ wₖΔₖ / Σ wₖ.
    pub delta_norm: f64,
}

/// Why updates could not be folded.
#[derive(Debug, Error)]
pub enum FoldError {
    /// Nothing to divide by.
    #[error("the updates have no weight together")]
    NoWeight,
    /// An update counts once or not at all.
    #[error("{client} contributes twice")]
    DuplicateClient {
        /// Which client.
        client: ClientId,
    },
    /// A weight is a finite number from 0 to [`WEIGHT_MAX`].
    #[error("the update of {client} has weight {weight}; it must lie between 0 and {WEIGHT_MAX:e}")]
    InvalidWeight {
        /// Whose update.
        client: ClientId,
        /// Its weight.
        weight: f64,
    },
    /// One such number would spread over the model and never leave it.
    #[error("the update of {client} is not finite at index {index}")]
    NonFinite {
        /// Whose update.
        client: ClientId,
        /// Where, in numbers.
        index: usize,
    },
    /// The base is not finite, or base and delta together are too large for f32.
    #[error("the new model is not finite at index {index}")]
    ResultNotFinite {
        /// Where, in numbers.
        index: usize,
    },
    /// An update cannot be read, or is too short.
    #[error("the update of {client} cannot be read: {source}")]
    Read {
        /// Whose update.
        client: ClientId,
        /// What its source said.
        source: io::Error,
    },
    /// The base model cannot be read, or is too short.
    #[error("the base model cannot be read: {source}")]
    ReadBase {
        /// What its source said.
        source: io::Error,
    },
    /// The new model cannot be written.
    #[error("the new model cannot be written: {source}")]
    Write {
        /// What the sink said.
        source: io::Error,
    },
}

/// Averages updates by weight and adds the mean to the base: `base + Σ wₖΔₖ / Σ wₖ`.
///
/// Each parameter is summed in f64, in ascending order of clients, and divided once; so neither the
/// order of `contributions` nor `threads` changes a bit. `sink` gets the new parameters in order, a
/// tile at a time, as `(offset, numbers)`. Memory is bounded by `threads` times a few tiles.
///
/// Of several things wrong, the one in the lowest tile is told, and in it the one of the lowest
/// client. The sink has the tiles before it by then.
///
/// # Shapes
///
/// - `base`: `[n_params]`
/// - `contributions[k].source`: `[n_params]`
/// - output: `[n_params]`
///
/// # Errors
///
/// [`FoldError`]; weights and clients are checked before anything is read.
///
/// # Panics
///
/// When a source's `read` does.
///
/// # Source
///
/// `FedAvg`, Algorithm 1 of McMahan et al. 2017, <https://arxiv.org/abs/1602.05629>, in the form of
/// deltas.
pub fn fold<S: TensorSource>(
    base: &impl TensorSource,
    contributions: &[Contribution<S>],
    n_params: usize,
    threads: NonZeroUsize,
    mut sink: impl FnMut(usize, &[f32]) -> io::Result<()>,
) -> Result<FoldReport, FoldError> {
    let contributions = in_canonical_order(contributions)?;
    let total_weight = total_weight(&contributions)?;
    let tiles = Tiles {
        base,
        contributions,
        total_weight,
        n_params,
    };
    let mut delta_squared = 0.0;
    for_each_tile(&tiles, threads, |folded| {
        delta_squared += folded.delta_squared;
        sink(folded.offset, &folded.params).map_err(|source| FoldError::Write { source })
    })?;
    Ok(FoldReport {
        total_weight,
        delta_norm: delta_squared.sqrt(),
    })
}

fn in_canonical_order<S>(
    contributions: &[Contribution<S>],
) -> Result<Vec<&Contribution<S>>, FoldError> {
    let mut sorted: Vec<_> = contributions.iter().collect();
    sorted.sort_by_key(|contribution| contribution.client);
    match sorted
        .windows(2)
        .find(|pair| pair[0].client == pair[1].client)
    {
        Some(pair) => Err(FoldError::DuplicateClient {
            client: pair[0].client,
        }),
        None => Ok(sorted),
    }
}

fn total_weight<S>(sorted: &[&Contribution<S>]) -> Result<f64, FoldError> {
    let mut total = 0.0;
    for Contribution { client, weight, .. } in sorted {
        if !(0.0..=WEIGHT_MAX).contains(weight) {
            return Err(FoldError::InvalidWeight {
                client: *client,
                weight: *weight,
            });
        }
        total += weight;
    }
    if total > 0.0 {
        Ok(total)
    } else {
        Err(FoldError::NoWeight)
    }
}

/// Folds all tiles, on as many threads as are given and useful, and hands them over in order.
fn for_each_tile<B: TensorSource, S: TensorSource>(
    tiles: &Tiles<'_, B, S>,
    threads: NonZeroUsize,
    mut take: impl FnMut(&Folded) -> Result<(), FoldError>,
) -> Result<(), FoldError> {
    let count = tiles.count();
    let lanes = threads.get().min(count);
    if lanes <= 1 {
        let (mut scratch, mut memory) = (Scratch::default(), Vec::new());
        return (0..count).try_for_each(|tile| {
            let folded = tiles.fold(tile, std::mem::take(&mut memory), &mut scratch)?;
            take(&folded)?;
            memory = folded.params;
            Ok(())
        });
    }
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| Lane::spawn(scope, tiles, (lane..count).step_by(lanes)))
            .collect();
        // Returning early drops the lanes' ends, which ends them at their next tile.
        (0..count).try_for_each(|tile| {
            let lane = &lanes[tile % lanes.len()];
            let folded = lane.folded.recv();
            let folded = folded.expect("a lane gives all its tiles, or panicked")?;
            take(&folded)?;
            // A lane that is through needs no memory.
            drop(lane.memory.send(folded.params));
            Ok(())
        })
    })
}

/// A thread that folds some of the tiles, at most one ahead of who takes them.
struct Lane {
    folded: Receiver<Result<Folded, FoldError>>,
    /// Where the memory of tiles that were taken goes back to.
    memory: Sender<Vec<f32>>,
}

impl Lane {
    fn spawn<'scope, B: TensorSource, S: TensorSource>(
        scope: &'scope Scope<'scope, '_>,
        tiles: &'scope Tiles<'_, B, S>,
        own: impl Iterator<Item = usize> + Send + 'scope,
    ) -> Self {
        let (give, folded) = sync_channel(1);
        let (memory, used) = channel::<Vec<f32>>();
        scope.spawn(move || {
            let mut scratch = Scratch::default();
            for tile in own {
                let memory = used.try_recv().unwrap_or_default();
                if give.send(tiles.fold(tile, memory, &mut scratch)).is_err() {
                    break;
                }
            }
        });
        Self { folded, memory }
    }
}

#[cfg(test)]
mod tests;
