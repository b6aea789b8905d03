//! From rows to logits.

use super::examples::Examples;
use super::lanes::{self, wide};
use super::matrix::{Columns, Matrix};
use super::network::{Network, Stage, row_block};
use super::pool::Pool;
use super::trunk::{Held, Trunk};
use federation::model::Loss;

/// What a forward pass leaves behind, planned for a largest batch.
///
/// # Shapes
///
/// Every vector is a row-major matrix of the planned number of rows, of which a batch uses the
/// first ones.
pub(super) struct Activations {
    /// Rows of the batch at hand.
    pub(super) rows: usize,
    /// `[rows, inputs]`; empty where there is a trunk.
    input: Vec<f32>,
    /// What the trunk leaves behind, if there is one.
    pub(super) held: Option<Held>,
    /// `[rows, terms]`
    labels: Vec<u32>,
    /// `[rows, classes]` for a regression, else empty.
    targets: Vec<f32>,
    /// What each stage yields, `[rows, outputs]`; for the last one, logits or what replaced them.
    outputs: Vec<Vec<f32>>,
    /// What went into a stage's curve, `[rows, outputs]`; empty where the output says enough.
    bent: Vec<Vec<f32>>,
    /// Losses of each row, `[rows, terms]`.
    losses: Vec<f32>,
}

/// Neighbouring rows of a batch at the end of a forward pass, or positions of its sequences.
pub(super) struct Block<'a> {
    /// `[rows, classes]`
    pub(super) logits: &'a mut [f32],
    /// `[rows]`
    pub(super) labels: &'a [u32],
    /// `[rows, classes]` for a regression, else empty.
    pub(super) targets: &'a [f32],
    /// `[rows]`, to be filled in.
    pub(super) losses: &'a mut [f32],
}

impl Activations {
    pub(super) fn new(network: &Network, rows_max: usize) -> Self {
        let matrix = |columns: usize| vec![0.0; rows_max * columns];
        let stages = &network.stages;
        Self {
            rows: 0,
            input: match network.trunk {
                Some(_) => Vec::new(),
                None => matrix(network.inputs),
            },
            held: network
                .trunk
                .as_ref()
                .map(|trunk| Held::new(trunk, rows_max)),
            labels: vec![0; rows_max * network.terms],
            targets: match network.loss {
                Loss::Regression => matrix(network.classes),
                Loss::Classification | Loss::NextToken => Vec::new(),
            },
            outputs: stages.iter().map(|stage| matrix(stage.outputs)).collect(),
            bent: stages
                .iter()
                .map(|stage| {
                    matrix(if stage.curve.keeps_input() {
                        stage.outputs
                    } else {
                        0
                    })
                })
                .collect(),
            losses: matrix(network.terms),
        }
    }

    /// Copies a batch in: its row `i` is row `source(i)` of `features`, `[_, inputs]`.
    pub(super) fn gather(
        &mut self,
        network: &Network,
        pool: &mut Pool,
        features: &[f32],
        rows: usize,
        source: impl Fn(usize) -> usize + Sync,
    ) {
        self.rows = rows;
        let (width, block) = (network.inputs, row_block(rows));
        let input = match &mut self.held {
            Some(held) => held.input(rows),
            None => &mut self.input[..rows * width],
        };
        let blocks = input.chunks_mut(block * width);
        pool.each(blocks.enumerate(), |(index, block_input)| {
            for (row, values) in block_input.chunks_exact_mut(width).enumerate() {
                let from = source(index * block + row) * width;
                values.copy_from_slice(&features[from..from + width]);
            }
            wide(
                #[inline(always)]
                || network.entry.bend(block_input),
            );
        });
    }

    /// Like [`Self::gather`], with the labels.
    pub(super) fn gather_examples(
        &mut self,
        network: &Network,
        pool: &mut Pool,
        examples: &Examples<'_>,
        rows: usize,
        source: impl Fn(usize) -> usize + Sync,
    ) {
        let terms = network.terms;
        let labels = self.labels[..rows * terms].chunks_exact_mut(terms);
        for (row, labels) in labels.enumerate() {
            examples.copy_labels(source(row), labels);
        }
        if network.loss == Loss::Regression {
            let targets = self.targets[..rows * network.classes].chunks_exact_mut(network.classes);
            for (row, targets) in targets.enumerate() {
                examples.copy_targets(source(row), targets);
            }
        }
        self.gather(network, pool, examples.features(), rows, source);
    }

    /// Runs the gathered batch through all stages and hands the logits to `finish` block by block.
    pub(super) fn forward(
        &mut self,
        network: &Network,
        pool: &mut Pool,
        parameters: &[f32],
        finish: impl Fn(Block<'_>) + Sync,
    ) {
        if let Some(trunk) = &network.trunk {
            self.climb(network, trunk, pool, parameters, &finish);
        }
        let Some(last) = network.stages.len().checked_sub(1) else {
            return;
        };
        for index in 0..last {
            self.hidden_stage(network, index, pool, parameters);
        }
        let stage = &network.stages[last];
        let (rows, classes, block) = (self.rows, network.classes, row_block(self.rows));
        let (below, own) = self.outputs.split_at_mut(last);
        let entry = entry(&self.input, network, self.held.as_ref(), rows);
        let input = stage_input(entry, below, last, rows, stage.inputs);
        let (weight, bias) = (stage.weight(parameters), stage.bias(parameters));
        let targets = &self.targets;

        let blocks = own[0][..rows * classes]
            .chunks_mut(block * classes)
            .zip(self.labels[..rows].chunks(block))
            .zip(self.losses[..rows].chunks_mut(block));
        pool.each(blocks.enumerate(), |(index, ((logits, labels), losses))| {
            let count = labels.len();
            Columns::new(logits, count, classes)
                .product(input.rows(index * block, count), weight.transposed());
            wide(
                #[inline(always)]
                || {
                    for row in logits.chunks_exact_mut(classes) {
                        lanes::add(row, bias);
                    }
                    finish(Block {
                        logits,
                        labels,
                        targets: part_of(targets, classes, index * block, count),
                        losses,
                    });
                },
            );
        });
    }

    /// Takes the gathered batch through the trunk; where nothing stands above it, hands what it
    /// yields to `finish`.
    fn climb(
        &mut self,
        network: &Network,
        trunk: &Trunk,
        pool: &mut Pool,
        parameters: &[f32],
        finish: &(impl Fn(Block<'_>) + Sync),
    ) {
        let Some(held) = &mut self.held else {
            return;
        };
        held.prepare(trunk, pool, parameters);
        let (rows, terms, is_last) = (self.rows, network.terms, network.stages.is_empty());
        let (block, targets) = (Trunk::block(rows), &self.targets);
        let blocks = held
            .blocks(trunk, parameters, rows)
            .zip(self.labels[..rows * terms].chunks(block * terms))
            .zip(self.losses[..rows * terms].chunks_mut(block * terms));
        pool.each(
            blocks.enumerate(),
            |(index, ((mut passage, labels), losses))| {
                let logits = passage.go();
                if is_last {
                    wide(
                        #[inline(always)]
                        || {
                            let count = labels.len();
                            finish(Block {
                                logits,
                                labels,
                                targets: part_of(targets, network.classes, index * block, count),
                                losses,
                            });
                        },
                    );
                }
            },
        );
    }

    /// `curve(input · weightᵀ + bias)`, tile by tile of the output's columns.
    fn hidden_stage(
        &mut self,
        network: &Network,
        index: usize,
        pool: &mut Pool,
        parameters: &[f32],
    ) {
        let stage: &Stage = &network.stages[index];
        let (rows, outputs) = (self.rows, stage.outputs);
        let (below, own) = self.outputs.split_at_mut(index);
        let entry = entry(&self.input, network, self.held.as_ref(), rows);
        let input = stage_input(entry, below, index, rows, stage.inputs);
        let (weight, bias) = (stage.weight(parameters), stage.bias(parameters));
        let bent_rows = if stage.curve.keeps_input() { rows } else { 0 };
        let bent = &mut self.bent[index][..bent_rows * outputs];

        let width = stage.output_tile(rows);
        let tiles = Columns::new(&mut own[0][..rows * outputs], rows, outputs).tiles(width);
        let tiles = tiles.zip(Columns::new(bent, bent_rows, outputs).tiles(width));
        pool.each(tiles, |((first, mut tile), (_, mut bent))| {
            let columns = tile.num_columns();
            tile.product(input, weight.rows(first, columns).transposed());
            wide(
                #[inline(always)]
                || {
                    for row in 0..rows {
                        let values = tile.row(row);
                        lanes::add(values, &bias[first..first + columns]);
                        if row < bent.num_rows() {
                            bent.row(row).copy_from_slice(values);
                        }
                        stage.curve.bend(values);
                    }
                },
            );
        });
    }

    /// What went into stage `index`, `[rows, inputs]`.
    pub(super) fn input(&self, network: &Network, index: usize) -> Matrix<'_> {
        let width = network.stages[index].inputs;
        let entry = entry(&self.input, network, self.held.as_ref(), self.rows);
        stage_input(entry, &self.outputs[..index], index, self.rows, width)
    }

    /// What the slope of stage `index`'s curve is read from, `[rows, outputs]`.
    pub(super) fn seen_by_curve(&self, network: &Network, index: usize) -> Matrix<'_> {
        let stage = &network.stages[index];
        let kept = match stage.curve.keeps_input() {
            true => &self.bent[index],
            false => &self.outputs[index],
        };
        Matrix::new(&kept[..self.rows * stage.outputs], self.rows, stage.outputs)
    }

    /// What is left of the logits, `[rows, terms, classes]`.
    pub(super) fn logits(&self, network: &Network) -> &[f32] {
        match (network.stages.len(), &network.trunk, &self.held) {
            (0, Some(trunk), Some(held)) => held.output(trunk, self.rows),
            (count, ..) => &self.outputs[count - 1][..self.rows * network.classes],
        }
    }

    /// `[rows, terms]`
    pub(super) fn labels(&self, network: &Network) -> &[u32] {
        &self.labels[..self.rows * network.terms]
    }

    /// Sum of the losses, in the order of rows.
    pub(super) fn total_loss(&self, network: &Network) -> f64 {
        self.losses[..self.rows * network.terms]
            .iter()
            .copied()
            .map(f64::from)
            .sum()
    }
}

/// What comes into the first stage, `[rows, inputs]`.
fn entry<'a>(
    input: &'a [f32],
    network: &Network,
    held: Option<&'a Held>,
    rows: usize,
) -> &'a [f32] {
    match (&network.trunk, held) {
        (Some(trunk), Some(held)) => held.output(trunk, rows),
        _ => input,
    }
}

/// `count` rows of targets from row `first` on, if there are any.
fn part_of(targets: &[f32], width: usize, first: usize, count: usize) -> &[f32] {
    match targets {
        [] => &[],
        _ => &targets[first * width..][..count * width],
    }
}

fn stage_input<'a>(
    input: &'a [f32],
    below: &'a [Vec<f32>],
    index: usize,
    rows: usize,
    width: usize,
) -> Matrix<'a> {
    let values = match index {
        0 => input,
        _ => &below[index - 1],
    };
    Matrix::new(&values[..rows * width], rows, width)
}
