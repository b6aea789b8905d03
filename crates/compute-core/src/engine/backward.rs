//! From the gradient at the logits to new parameters.
//!
//! Going down, a phase computes the gradient at one stage's input and, beside it, the gradient of
//! the parameters of the stage above, which nothing reads any more: each tile of parameters is
//! updated while its gradient is still in the cache.

use super::forward::Activations;
use super::lanes::{self, LANES, wide};
use super::matrix::{Columns, Matrix};
use super::network::{Network, Stage};
use super::optimizer::{Part, Rule};
use super::pool::Pool;
use super::trunk::{Known as TrunkKnown, Slopes, update_tasks as trunk_update_tasks};
use std::ops::Range;

/// Gradients, planned for a largest batch.
pub(super) struct Gradients {
    /// At what each hidden stage's linear layer yields, `[rows, outputs]`.
    hidden: Vec<Vec<f32>>,
    /// Of the trunk, if there is one.
    trunk: Option<Slopes>,
    /// Of the parameters, `[n_params]`; of weights only where a rule waits for them.
    pub(super) parameters: Vec<f32>,
    /// For each thread, memory for the gradient of one weight's tile: what moves the weight and is
    /// then forgotten stays in the second-level cache.
    benches: Vec<Vec<f32>>,
}

/// A piece of a phase.
enum Task<'a> {
    /// Some columns of the gradient at the input of stage `stage`, from `first` on.
    Input {
        stage: usize,
        /// `[outputs, columns]`
        weight: Matrix<'a>,
        first: usize,
        tile: Columns<'a>,
    },
    /// Some outputs of stage `stage`, from `first` on.
    Update {
        stage: usize,
        first: usize,
        bias: Part<'a>,
        weight: Part<'a>,
    },
}

impl Gradients {
    pub(super) fn new(network: &Network, rows_max: usize, threads: usize) -> Self {
        let hidden = &network.stages[..network.stages.len().saturating_sub(1)];
        Self {
            trunk: network
                .trunk
                .as_ref()
                .map(|trunk| Slopes::new(trunk, rows_max)),
            hidden: hidden
                .iter()
                .map(|stage| vec![0.0; rows_max * stage.outputs])
                .collect(),
            parameters: vec![0.0; network.num_parameters],
            benches: vec![vec![0.0; network.weight_max()]; threads],
        }
    }

    /// Takes one step by `rule`, from the gradient that replaced the logits in `activations`.
    ///
    /// # Shapes
    ///
    /// - `parameters`: `[n_params]`
    /// - `memory`: two vectors of `[n_params]`, or empty where the rule has none
    pub(super) fn step(
        &mut self,
        network: &Network,
        pool: &mut Pool,
        activations: &mut Activations,
        parameters: &mut [f32],
        memory: &mut [Vec<f32>; 2],
        rule: Rule,
    ) {
        let [first, second] = memory;
        let mut all = Part {
            values: parameters,
            gradient: &mut self.parameters,
            first,
            second,
        };
        let trunk_parts = all.split_off(network.trunk_parameters());
        let mut phase = Phase {
            network,
            pool,
            activations,
            benches: &mut self.benches,
            rule,
        };
        let below = match (&network.trunk, &mut self.trunk) {
            (Some(trunk), Some(slopes)) => Some(slopes.last(trunk, phase.activations.rows)),
            _ => None,
        };
        phase.stages(&mut self.hidden, below, all);
        if let Some(slopes) = &mut self.trunk {
            phase.trunk(slopes, trunk_parts);
        }
    }
}

/// The gradients at the outputs of the hidden stages from `first` on.
struct Known<'a> {
    first: usize,
    hidden: &'a [Vec<f32>],
}

/// The gradient at the input of stage `stage`, to be filled in, and what it is read from.
struct Target<'a> {
    stage: usize,
    /// `[rows_max, inputs]`
    gradient: &'a mut [f32],
    /// The parameters of that stage and of those below it.
    parameters: &'a [f32],
}

/// What all phases of a step share.
struct Phase<'a> {
    network: &'a Network,
    pool: &'a mut Pool,
    activations: &'a mut Activations,
    /// Memory for each thread, as in [`Gradients`].
    benches: &'a mut [Vec<f32>],
    rule: Rule,
}

impl Phase<'_> {
    /// Goes down through the stages, and gives the gradient below them where `below` asks for it.
    fn stages(&mut self, hidden: &mut [Vec<f32>], below: Option<&mut [f32]>, mut all: Part<'_>) {
        let network = self.network;
        let count = network.stages.len();
        let offset = network.trunk_parameters();
        for stage in (1..count).rev() {
            let (lower, upper) = all.split_at(network.start(stage + 1) - offset);
            let (targets, hidden) = hidden.split_at_mut(stage);
            let target = Target {
                stage,
                gradient: &mut targets[stage - 1],
                parameters: lower.values,
            };
            let first = stage;
            let updates = stage + 1..count.min(stage + 2);
            self.run(Some(target), updates, upper, &Known { first, hidden });
        }
        let known = Known { first: 0, hidden };
        let Some(gradient) = below.filter(|_| count > 0) else {
            self.run(None, 0..count.min(2), all, &known);
            return;
        };
        let (lower, upper) = all.split_at(network.start(1) - offset);
        let target = Target {
            stage: 0,
            gradient,
            parameters: lower.values,
        };
        self.run(Some(target), 1..count.min(2), upper, &known);
        let (lower, _) = all.split_at(network.start(1) - offset);
        self.run(None, 0..1, lower, &known);
    }

    /// Goes down through the trunk, then updates it.
    fn trunk(&mut self, slopes: &mut Slopes, parts: Part<'_>) {
        let (network, rule, rows) = (self.network, self.rule, self.activations.rows);
        let (Some(trunk), Some(held)) = (&network.trunk, &mut self.activations.held) else {
            return;
        };
        let is_replaced = network.stages.is_empty();
        slopes.descend(trunk, held, self.pool, parts.values, rows, is_replaced);
        let known = TrunkKnown::new(trunk, held, slopes, rows);
        let tasks = trunk_update_tasks(trunk, parts, rows);
        self.pool.each_at(self.benches, tasks, |bench, task| {
            task.run(known, bench, rule)
        });
    }

    /// Fills `target` and updates the stages `updates`, whose parameters `parts` begins with.
    fn run(
        &mut self,
        target: Option<Target<'_>>,
        updates: Range<usize>,
        parts: Part<'_>,
        known: &Known<'_>,
    ) {
        let (network, activations, rule) = (self.network, &*self.activations, self.rule);
        let offset = network.trunk_parameters();
        let rows = activations.rows;
        let output = |stage: usize| -> Matrix<'_> {
            let outputs = network.stages[stage].outputs;
            let values = match known.hidden.get(stage - known.first) {
                Some(values) => &values[..rows * outputs],
                None => activations.logits(network),
            };
            Matrix::new(values, rows, outputs)
        };
        let tiles = target.into_iter().flat_map(|target| {
            let stage = &network.stages[target.stage];
            let weight = stage.weight_from(target.parameters, offset);
            Columns::new(
                &mut target.gradient[..rows * stage.inputs],
                rows,
                stage.inputs,
            )
            .tiles(stage.input_tile(rows))
            .map(move |(first, tile)| Task::Input {
                stage: target.stage,
                weight: weight.columns(first, tile.num_columns()),
                first,
                tile,
            })
        });
        let tasks = tiles.chain(update_tasks(&network.stages, updates, parts, rows));

        self.pool
            .each_at(self.benches, tasks, |bench, task| match task {
                Task::Input {
                    stage,
                    weight,
                    first,
                    mut tile,
                } => {
                    tile.product(output(stage), weight);
                    if stage == 0 {
                        return;
                    }
                    let seen = activations.seen_by_curve(network, stage - 1);
                    let seen = seen.columns(first, tile.num_columns());
                    let curve = &network.stages[stage - 1].curve;
                    wide(
                        #[inline(always)]
                        || {
                            for row in 0..tile.num_rows() {
                                curve.chain(seen.row(row), tile.row(row));
                            }
                        },
                    );
                }
                Task::Update {
                    stage,
                    first,
                    bias,
                    weight,
                } => {
                    let gradient = output(stage).columns(first, bias.values.len());
                    update(
                        gradient,
                        activations.input(network, stage),
                        bias,
                        weight,
                        (bench, rule),
                    );
                }
            });
    }
}

/// The parameters of `stages[range]`, tile by tile of their outputs.
fn update_tasks<'a>(
    stages: &'a [Stage],
    range: Range<usize>,
    mut parts: Part<'a>,
    rows: usize,
) -> impl Iterator<Item = Task<'a>> + Send {
    range.flat_map(move |index| {
        let stage = &stages[index];
        let width = stage.output_tile(rows);
        let mut bias = parts.split_off(stage.outputs);
        let mut weight = parts.split_off(stage.outputs * stage.inputs);
        (0..stage.outputs).step_by(width).map(move |first| {
            let outputs = width.min(stage.outputs - first);
            Task::Update {
                stage: index,
                first,
                bias: bias.split_off(outputs),
                weight: weight.split_off(outputs * stage.inputs),
            }
        })
    })
}

/// Sums the gradient of some outputs' parameters over the batch, then moves them.
///
/// # Shapes
///
/// - `output`: gradient at those outputs, `[rows, outputs]`
/// - `input`: `[rows, inputs]`
/// - `bias`: `[outputs]`
/// - `weight`: `[outputs, inputs]`
/// - `bench`: memory for `[outputs, inputs]`, where the gradient goes unless the rule waits for it
pub(super) fn update<'a>(
    output: Matrix<'_>,
    input: Matrix<'_>,
    mut bias: Part<'_>,
    mut weight: Part<'a>,
    (bench, rule): (&'a mut [f32], Rule),
) {
    if !matches!(rule, Rule::Wait) {
        weight.gradient = &mut bench[..weight.values.len()];
    }
    let (outputs, inputs) = (
        bias.gradient.len(),
        weight.gradient.len() / bias.gradient.len(),
    );
    Columns::new(weight.gradient, outputs, inputs).product(output.transposed(), input);
    wide(
        #[inline(always)]
        || {
            sum_rows(output, bias.gradient);
            rule.apply(&mut bias);
            rule.apply(&mut weight);
        },
    );
}

/// Columns that are summed together: four vectors of AVX-512, which stay in registers.
const SUMMED_TOGETHER: usize = 4 * LANES;

/// The sum of all rows, from the first to the last.
#[inline(always)]
fn sum_rows(rows: Matrix<'_>, sums: &mut [f32]) {
    let (wholes, rest) = sums.as_chunks_mut::<SUMMED_TOGETHER>();
    let start = wholes.len() * SUMMED_TOGETHER;
    for (index, sums) in wholes.iter_mut().enumerate() {
        sum_columns(rows, index * SUMMED_TOGETHER, sums);
    }
    let (parts, rest) = rest.as_chunks_mut::<LANES>();
    for (index, sums) in parts.iter_mut().enumerate() {
        sum_columns(rows, start + index * LANES, sums);
    }
    let start = start + parts.len() * LANES;
    rest.fill(0.0);
    for row in 0..rows.num_rows() {
        lanes::add(rest, &rows.row(row)[start..]);
    }
}

#[inline(always)]
fn sum_columns<const N: usize>(rows: Matrix<'_>, first: usize, sums: &mut [f32; N]) {
    let mut lanes = [0.0; N];
    for row in 0..rows.num_rows() {
        for (sum, x) in lanes.iter_mut().zip(&rows.row(row)[first..][..N]) {
            *sum += x;
        }
    }
    *sums = lanes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_in_every_column() {
        let columns = SUMMED_TOGETHER + LANES + 5;
        let values: Vec<f32> = (0..3 * columns).map(|i| i as f32).collect();
        let mut sums = vec![f32::NAN; columns];
        sum_rows(Matrix::new(&values, 3, columns), &mut sums);
        for (column, sum) in sums.iter().enumerate() {
            let expected = (3 * column + 3 * columns) as f32;
            assert_eq!(sum.to_bits(), expected.to_bits());
        }
    }
}
