//! An architecture as the engine runs it: stages, their places in the parameters, their tiles.

use super::curve::Curve;
use super::matrix::Matrix;
use super::trunk::Trunk;
use federation::model::{Architecture, Layer, Loss, Shape};

/// Most tiles one product is cut into: enough that four threads share them evenly, few enough that
/// the packing inside each product stays small beside its arithmetic.
const TILES_MAX: usize = 8;

/// Tiles are a multiple of this wide: the register blocks of the AVX-512 kernels are 48 wide, those
/// of the AVX2 kernels 24.
const TILE_ALIGNMENT: usize = 48;

/// Least work of a tile, in multiplications: 5 to 10 µs, so that taking a tile costs nothing.
const TILE_PRODUCTS_MIN: usize = 1 << 19;

/// Below this many multiplications a pass is run by the calling thread alone: waking and awaiting
/// others in each phase would cost more than they bring.
const SHARED_PRODUCTS_MIN: usize = 1 << 21;

/// A linear layer and the activations after it.
pub(super) struct Stage {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) curve: Curve,
    /// Where its parameters begin: bias `[outputs]`, then weight `[outputs, inputs]`.
    start: usize,
}

impl Stage {
    fn weight_len(&self) -> usize {
        self.inputs * self.outputs
    }

    /// `[outputs]`
    pub(super) fn bias<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[self.start..][..self.outputs]
    }

    /// `[outputs, inputs]`
    pub(super) fn weight<'a>(&self, parameters: &'a [f32]) -> Matrix<'a> {
        self.weight_from(parameters, 0)
    }

    /// The same out of parameters that begin after the first `offset` ones.
    pub(super) fn weight_from<'a>(&self, parameters: &'a [f32], offset: usize) -> Matrix<'a> {
        let start = self.start + self.outputs - offset;
        Matrix::new(
            &parameters[start..][..self.weight_len()],
            self.outputs,
            self.inputs,
        )
    }

    /// Output columns of one tile of the forward product, or rows of one of the weight's gradient.
    pub(super) fn output_tile(&self, rows: usize) -> usize {
        tile(self.outputs, rows * self.inputs)
    }

    /// Columns of one tile of the gradient at the stage's input.
    pub(super) fn input_tile(&self, rows: usize) -> usize {
        tile(self.inputs, rows * self.outputs)
    }
}

/// How many of `count` columns make a tile, when one column costs `products` multiplications.
///
/// Depends on the model and the batch alone: the number of threads must not change any sum.
pub(super) fn tile(count: usize, products: usize) -> usize {
    let worthwhile = TILE_PRODUCTS_MIN.div_ceil(products.max(1));
    count
        .div_ceil(TILES_MAX)
        .max(worthwhile)
        .next_multiple_of(TILE_ALIGNMENT)
        .min(count)
}

/// A model: a trunk, if it has one, and the stages after it.
pub(super) struct Network {
    /// What each row passes alone.
    pub(super) trunk: Option<Trunk>,
    /// Activations before the first linear layer, where there is no trunk.
    pub(super) entry: Curve,
    pub(super) stages: Vec<Stage>,
    pub(super) inputs: usize,
    pub(super) classes: usize,
    pub(super) num_parameters: usize,
    pub(super) loss: Loss,
    /// Losses of one row: 1, or one for each position of a sequence.
    pub(super) terms: usize,
    /// Multiplications of a forward pass of one row.
    products: usize,
}

impl Network {
    pub(super) fn new(architecture: &Architecture) -> Self {
        let first = first_stage(architecture);
        let trunk = (first > 0).then(|| Trunk::new(architecture, first));
        let trunk_parameters = trunk.as_ref().map_or(0, |trunk| trunk.num_parameters);
        let loss = architecture.loss();
        let mut network = Self {
            entry: Curve::default(),
            stages: Vec::new(),
            inputs: architecture.inputs(),
            classes: architecture.outputs(),
            num_parameters: trunk_parameters,
            loss,
            terms: match (loss, &trunk) {
                (Loss::NextToken, Some(trunk)) => trunk.width() / architecture.outputs(),
                _ => 1,
            },
            products: 0,
            trunk,
        };
        for &layer in &architecture.layers()[first..] {
            match (layer, network.stages.last_mut()) {
                (Layer::Linear { inputs, outputs }, _) => {
                    network.stages.push(Stage {
                        inputs,
                        outputs,
                        curve: Curve::default(),
                        start: network.num_parameters,
                    });
                    network.num_parameters += outputs + inputs * outputs;
                }
                (Layer::Regression, _) => {}
                (activation, Some(stage)) => stage.curve.then(activation),
                (activation, None) => network.entry.then(activation),
            }
        }
        let trunk_products = network.trunk.as_ref().map_or(0, |trunk| trunk.products);
        network.products = trunk_products + network.num_parameters - trunk_parameters;
        network
    }

    /// Length of the trunk's parameters.
    pub(super) fn trunk_parameters(&self) -> usize {
        self.trunk.as_ref().map_or(0, |trunk| trunk.num_parameters)
    }

    /// Numbers that a training of batches of `rows` rows holds, parameters apart.
    pub(super) fn num_values(&self, rows: usize) -> usize {
        let stages = self.stages.iter();
        let widths = stages.map(|stage| stage.outputs.saturating_mul(3));
        let own = widths.fold(self.inputs, usize::saturating_add);
        let trunk = self
            .trunk
            .as_ref()
            .map_or(0, |trunk| trunk.num_values(rows));
        own.saturating_mul(rows).saturating_add(trunk)
    }

    /// Numbers of the trunk's weights as products read them.
    pub(super) fn prepared_len(&self) -> usize {
        self.trunk.as_ref().map_or(0, |trunk| trunk.prepared_len)
    }

    /// Length of the largest weight of a linear layer.
    pub(super) fn weight_max(&self) -> usize {
        let own = self.stages.iter().map(Stage::weight_len).max();
        let trunk = self.trunk.as_ref().map(Trunk::weight_max);
        own.max(trunk).unwrap_or(0)
    }

    /// Where the parameters of stage `index` begin; the end of all for the stage after the last.
    pub(super) fn start(&self, index: usize) -> usize {
        self.stages
            .get(index)
            .map_or(self.num_parameters, |stage| stage.start)
    }

    /// Whether a forward pass over `rows` rows is work for more than one thread.
    pub(super) fn worth_sharing(&self, rows: usize) -> bool {
        self.products.saturating_mul(rows) >= SHARED_PRODUCTS_MIN
    }
}

/// The first layer after the trunk: the first of the linear layers on features that only activations
/// follow, or 0 where nothing else is before them.
fn first_stage(architecture: &Architecture) -> usize {
    let (layers, shapes) = (architecture.layers(), architecture.shapes());
    let end = match layers.last() {
        Some(Layer::Regression) => layers.len() - 1,
        _ => layers.len(),
    };
    let is_staged = |index: &usize| {
        matches!(
            (layers[*index], shapes[*index]),
            (Layer::Linear { .. }, Shape::Features(_)) | (Layer::Relu | Layer::Gelu, _)
        )
    };
    let start = (0..end).rev().take_while(is_staged).last().unwrap_or(end);
    if start == 0 {
        return 0;
    }
    let linear = |index: &usize| matches!(layers[*index], Layer::Linear { .. });
    (start..end).find(linear).unwrap_or(end)
}

/// Rows of one block where work is cut by rows: a multiple of 8, the height of a register block.
pub(super) fn row_block(rows: usize) -> usize {
    rows.div_ceil(TILES_MAX / 2)
        .next_multiple_of(8)
        .min(rows.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_lie_in_the_order_of_the_tensors() {
        let linear = |inputs, outputs| Layer::Linear { inputs, outputs };
        let layers = vec![Layer::Relu, linear(4, 3), Layer::Gelu, linear(3, 2)];
        let architecture = Architecture::new(layers).unwrap();
        let network = Network::new(&architecture);
        assert_eq!(network.num_parameters, architecture.num_parameters());
        assert_eq!(
            (network.start(0), network.start(1), network.start(2)),
            (0, 15, 23)
        );
        let parameters: Vec<f32> = (0..23_u8).map(f32::from).collect();
        assert_eq!(network.stages[1].bias(&parameters), [15.0, 16.0]);
        assert_eq!(
            network.stages[1].weight(&parameters).row(1),
            [20.0, 21.0, 22.0]
        );
    }

    #[test]
    fn tiles_are_whole_register_blocks_and_at_most_eight() {
        assert_eq!(tile(512, 256 * 784), 96);
        assert_eq!(tile(784, 256 * 512), 144);
        assert_eq!(tile(10, 256 * 256), 10);
        assert_eq!(tile(64, 32 * 64), 64);
    }
}
