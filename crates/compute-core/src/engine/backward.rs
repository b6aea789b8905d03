//! From the gradient at the logits to new parameters.
//!
//! Going down, a phase computes the gradient at one stage's input and, beside it, the gradient of
//! the parameters of the stage above, which nothing reads any more: each tile of parameters is
//! updated while its gradient is still in the cache.

use super::forward::Activations;
use super::matrix::{Columns, Matrix};
use super::network::{Network, Stage};
use super::optimizer::{Part, Rule};
use super::pool::Pool;
use pulp::Arch;
use std::ops::Range;

/// Gradients, planned for a largest batch.
pub(super) struct Gradients {
    /// At what each hidden stage's linear layer yields, `[rows, outputs]`.
    hidden: Vec<Vec<f32>>,
    /// Of the parameters, `[n_params]`.
    pub(super) parameters: Vec<f32>,
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
    pub(super) fn new(network: &Network, rows_max: usize) -> Self {
        let hidden = &network.stages[..network.stages.len() - 1];
        Self {
            hidden: hidden
                .iter()
                .map(|stage| vec![0.0; rows_max * stage.outputs])
                .collect(),
            parameters: vec![0.0; network.num_parameters],
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
        activations: &Activations,
        parameters: &mut [f32],
        memory: &mut [Vec<f32>; 2],
        rule: Rule,
    ) {
        let [first, second] = memory;
        let mut phase = Phase {
            network,
            pool,
            activations,
            rule,
        };
        let count = network.stages.len();
        let mut all = Part {
            values: parameters,
            gradient: &mut self.parameters,
            first,
            second,
        };
        for stage in (1..count).rev() {
            let (lower, upper) = all.split_at(network.start(stage + 1));
            let (targets, hidden) = self.hidden.split_at_mut(stage);
            let target = Target {
                stage,
                gradient: &mut targets[stage - 1],
                parameters: lower.values,
            };
            let first = stage;
            let updates = stage + 1..count.min(stage + 2);
            phase.run(Some(target), updates, upper, &Known { first, hidden });
        }
        let known = Known {
            first: 0,
            hidden: &self.hidden,
        };
        phase.run(None, 0..count.min(2), all, &known);
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
    activations: &'a Activations,
    rule: Rule,
}

impl Phase<'_> {
    /// Fills `target` and updates the stages `updates`, whose parameters `parts` begins with.
    fn run(
        &mut self,
        target: Option<Target<'_>>,
        updates: Range<usize>,
        parts: Part<'_>,
        known: &Known<'_>,
    ) {
        let (network, activations, rule) = (self.network, self.activations, self.rule);
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
            let weight = stage.weight(target.parameters);
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

        self.pool.each(tasks, |task| match task {
            Task::Input {
                stage,
                weight,
                first,
                mut tile,
            } => {
                tile.product(output(stage), weight);
                let seen = activations.seen_by_curve(network, stage - 1);
                let seen = seen.columns(first, tile.num_columns());
                let curve = &network.stages[stage - 1].curve;
                Arch::new().dispatch(|| {
                    for row in 0..tile.num_rows() {
                        curve.chain(seen.row(row), tile.row(row));
                    }
                });
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
                    rule,
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
fn update(output: Matrix<'_>, input: Matrix<'_>, bias: Part<'_>, weight: Part<'_>, rule: Rule) {
    let (outputs, inputs) = (
        bias.gradient.len(),
        weight.gradient.len() / bias.gradient.len(),
    );
    Columns::new(weight.gradient, outputs, inputs).product(output.transposed(), input);
    Arch::new().dispatch(|| {
        bias.gradient.fill(0.0);
        for row in 0..output.num_rows() {
            for (sum, g) in bias.gradient.iter_mut().zip(output.row(row)) {
                *sum += g;
            }
        }
        rule.apply(bias);
        rule.apply(weight);
    });
}
