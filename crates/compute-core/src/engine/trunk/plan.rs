//! From a list of layers to a trunk: which sheet each number stands on, made once.

use super::super::curve::Curve;
use super::Trunk;
use super::attention::Attention;
use super::convolution::Convolution;
use super::op::{Flow, Kind, Op};
use super::window::Window;
use federation::model::{Architecture, Layer, Shape};

/// A trunk that is being planned.
struct Plan {
    trunk: Trunk,
    /// Shapes of the values.
    shapes: Vec<Shape>,
    /// Values that forks keep.
    forks: Vec<usize>,
    /// Where the token vectors begin in the parameters, and how many there are.
    tokens: (usize, usize),
}

impl Trunk {
    /// The trunk of `architecture`, which is its first `count` layers.
    pub(in super::super) fn new(architecture: &Architecture, count: usize) -> Self {
        let input = Shape::Features(architecture.inputs());
        let mut plan = Plan {
            trunk: Self {
                ops: Vec::new(),
                values: vec![input.len()],
                kept: Vec::new(),
                gradients: Vec::new(),
                slots: Vec::new(),
                num_parameters: 0,
                prepared_len: 0,
                sums_len: 0,
                bench_len: 0,
                products: 0,
                positions: 1,
            },
            shapes: vec![input],
            forks: Vec::new(),
            tokens: (0, 0),
        };
        let shapes = architecture.shapes();
        for (layer, shape) in architecture.layers()[..count].iter().zip(shapes) {
            plan.layer(*layer, shape);
        }
        plan.flow();
        plan.trunk
    }
}

impl Plan {
    /// The value that stands now.
    fn value(&self) -> usize {
        self.shapes.len() - 1
    }

    fn shape(&self) -> Shape {
        self.shapes[self.value()]
    }

    fn layer(&mut self, layer: Layer, shape: Shape) {
        match layer {
            Layer::Fork => self.forks.push(self.value()),
            Layer::Regression => {}
            Layer::Relu | Layer::Gelu => self.curve(layer, shape),
            Layer::MaxPool { kernel, stride } => self.pool(shape, kernel, stride, true),
            Layer::AveragePool { kernel, stride } => self.pool(shape, kernel, stride, false),
            Layer::Linear { inputs, outputs } => {
                self.count_positions(shape);
                let own = outputs + inputs * outputs;
                self.trunk.products += self.trunk.positions * inputs * outputs;
                let kind = Kind::Linear {
                    inputs,
                    outputs,
                    curve: Curve::default(),
                };
                self.push(kind, shape, own, 2 * inputs * outputs, 0, 0);
            }
            Layer::Image { .. } => {
                let (channels, places) = channels(shape);
                self.push(Kind::Image { channels, places }, shape, 0, 0, 0, 0);
            }
            Layer::Flatten => match self.shape() {
                Shape::Image { .. } => {
                    let (channels, places) = channels(self.shape());
                    self.push(Kind::Flatten { channels, places }, shape, 0, 0, 0, 0);
                }
                // A sequence lies in memory as it is read.
                _ => self.push(Kind::Curve(Curve::default()), shape, 0, 0, 0, 0),
            },
            Layer::Convolution { .. } => self.convolution(layer, shape),
            Layer::Embedding {
                vocabulary,
                width,
                context,
            } => {
                self.tokens = (context * width, vocabulary);
                let own = (context + vocabulary) * width;
                let kind = Kind::Embedding { width, context };
                self.push(kind, shape, own, 0, 0, 0);
            }
            Layer::LayerNorm { width } => {
                let rows = shape.len() / width;
                self.push(Kind::Norm { width }, shape, 2 * width, 0, 2 * width, 0);
                self.keep(2 * rows);
            }
            Layer::Attention { width, heads } => self.attention(shape, width, heads),
            Layer::Join => {
                if let Some(kept) = self.forks.pop() {
                    let flow = Flow::None;
                    self.push(Kind::Join { kept, flow }, shape, 0, 0, 0, 0);
                }
            }
            Layer::TiedHead => {
                self.count_positions(shape);
                let (start, vocabulary) = self.tokens;
                let width = self.shape().len() / self.trunk.positions;
                self.trunk.products += self.trunk.positions * vocabulary * width;
                let kind = Kind::TiedHead {
                    width,
                    vocabulary,
                    start,
                };
                self.push(kind, shape, 0, 2 * vocabulary * width, 0, 0);
            }
        }
    }

    fn attention(&mut self, shape: Shape, width: usize, heads: usize) {
        let positions = shape.len() / width;
        let attention = Attention {
            positions,
            width,
            heads,
        };
        self.trunk.products += 2 * positions * positions * width;
        let bench = attention.map_len();
        self.push(Kind::Attention(attention), shape, 0, 0, 0, bench);
        self.keep(attention.weights_len());
    }

    fn count_positions(&mut self, shape: Shape) {
        self.trunk.positions = match shape {
            Shape::Sequence { positions, .. } => positions,
            _ => 1,
        };
    }

    fn curve(&mut self, layer: Layer, shape: Shape) {
        let value = self.value();
        let is_kept_by_fork = self.forks.contains(&value);
        let keeps = match self.trunk.ops.last_mut() {
            Some(op) if !is_kept_by_fork => match &mut op.kind {
                Kind::Linear { curve, .. }
                | Kind::Convolution(Convolution {
                    curve, pool: None, ..
                })
                | Kind::Curve(curve) => {
                    curve.then(layer);
                    Some(curve.keeps_input())
                }
                _ => None,
            },
            _ => None,
        };
        match keeps {
            Some(true) if matches!(self.last_kind(), Some(Kind::Curve(_))) => {}
            Some(true) => {
                if self.trunk.ops[self.trunk.ops.len() - 1].kept.is_none() {
                    self.keep(shape.len());
                }
            }
            Some(false) => {}
            None => {
                let mut curve = Curve::default();
                curve.then(layer);
                self.push(Kind::Curve(curve), shape, 0, 0, 0, 0);
            }
        }
    }

    fn last_kind(&self) -> Option<&Kind> {
        self.trunk.ops.last().map(|op| &op.kind)
    }

    fn convolution(&mut self, layer: Layer, shape: Shape) {
        let (
            Layer::Convolution {
                inputs,
                outputs,
                kernel,
                stride,
                padding,
            },
            Shape::Image { height, width, .. },
            Shape::Image {
                height: out_height,
                width: out_width,
                ..
            },
        ) = (layer, self.shape(), shape)
        else {
            return;
        };
        let convolution = Convolution {
            inputs,
            outputs,
            kernel,
            stride,
            padding,
            height,
            width,
            out_height,
            out_width,
            curve: Curve::default(),
            pool: None,
        };
        let weight = convolution.weight_len();
        self.trunk.products += out_height * out_width * weight;
        let (laid_out, bench) = (convolution.laid_out_len(), convolution.bench_len());
        self.push(
            Kind::Convolution(convolution),
            shape,
            outputs + weight,
            2 * laid_out,
            outputs + laid_out,
            bench,
        );
    }

    /// A pool right after a convolution whose slope shows in what comes out becomes part of it:
    /// what the convolution yields then never leaves the cache.
    fn pool(&mut self, shape: Shape, kernel: usize, stride: usize, largest: bool) {
        let (
            Shape::Image {
                channels, width, ..
            },
            Shape::Image {
                height: out_height,
                width: out_width,
                ..
            },
        ) = (self.shape(), shape)
        else {
            return;
        };
        let window = Window {
            channels,
            width,
            kernel,
            stride,
            out_height,
            out_width,
            largest,
        };
        let value = self.value();
        let is_kept_by_fork = self.forks.contains(&value);
        let kept = if largest { shape.len() } else { 0 };
        // A mean may hide a slope, and windows apart from each other count a gradient only once.
        if largest
            && !is_kept_by_fork
            && let Some(Op {
                kind: Kind::Convolution(convolution),
                ..
            }) = self.trunk.ops.last_mut()
            && convolution.pool.is_none()
            && !convolution.curve.keeps_input()
        {
            convolution.pool = Some(window);
            let bench = convolution.bench_len();
            self.trunk.bench_len = self.trunk.bench_len.max(bench);
            self.shapes[value] = shape;
            self.trunk.values[value] = shape.len();
            self.keep(kept);
            return;
        }
        self.push(Kind::Pool(window), shape, 0, 0, 0, 0);
        self.keep(kept);
    }

    fn push(
        &mut self,
        kind: Kind,
        shape: Shape,
        own: usize,
        prepared: usize,
        sums: usize,
        bench: usize,
    ) {
        let trunk = &mut self.trunk;
        trunk.ops.push(Op {
            kind,
            input: self.shapes.len() - 1,
            output: self.shapes.len(),
            kept: None,
            start: trunk.num_parameters,
            len: own,
            prepared: trunk.prepared_len,
            prepared_len: prepared,
            sums: trunk.sums_len,
            sums_len: sums,
            flow: Flow::None,
        });
        trunk.num_parameters += own;
        trunk.prepared_len += prepared;
        trunk.sums_len += sums;
        trunk.bench_len = trunk.bench_len.max(bench);
        trunk.values.push(shape.len());
        self.shapes.push(shape);
    }

    /// Gives the last layer a sheet for what it leaves for the backward pass.
    fn keep(&mut self, width: usize) {
        if let Some(op) = self.trunk.ops.last_mut() {
            op.kept = Some(self.trunk.kept.len());
            self.trunk.kept.push(width);
        }
    }

    /// Gives gradients their sheets, in the order of the backward pass.
    ///
    /// A gradient needs its sheet from the first layer that writes to it to the layer that yields
    /// its value; then the next one of the same width takes it over, unless a sum over all rows
    /// reads it later. A sum's gradient is that of what was added last, which takes its sheet.
    fn flow(&mut self) {
        let trunk = &mut self.trunk;
        let mut learns = vec![false; trunk.values.len()];
        for op in &trunk.ops {
            // Its own sums are taken on the way to the gradient at its input.
            learns[op.input] |= matches!(op.kind, Kind::Norm { .. });
            let kept = matches!(op.kind, Kind::Join { kept, .. } if learns[kept]);
            learns[op.output] = learns[op.input] || kept || op.len > 0;
        }
        let mut free: Vec<usize> = Vec::new();
        let (values, gradients) = (&trunk.values, &mut trunk.gradients);
        let mut slots = vec![None; values.len()];
        let mut take = |value: usize, free: &mut Vec<usize>| {
            let width = values[value];
            match free.iter().position(|sheet| gradients[*sheet] == width) {
                Some(place) => free.swap_remove(place),
                None => {
                    gradients.push(width);
                    gradients.len() - 1
                }
            }
        };
        let last = values.len() - 1;
        slots[last] = Some(take(last, &mut free));
        for op in trunk.ops.iter_mut().rev() {
            let mut reach =
                |value: usize, slots: &mut [Option<usize>]| match (learns[value], slots[value]) {
                    (false, _) => Flow::None,
                    (true, Some(_)) => Flow::Added,
                    (true, None) => {
                        slots[value] = Some(take(value, &mut free));
                        Flow::Fresh
                    }
                };
            if let Kind::Join { kept, flow } = &mut op.kind {
                *flow = reach(*kept, &mut slots);
                if learns[op.input] && slots[op.input].is_none() {
                    slots[op.input] = slots[op.output];
                    continue;
                }
            }
            op.flow = reach(op.input, &mut slots);
            if let (Some(slot), false) = (slots[op.output], op.reads_gradient_later()) {
                free.push(slot);
            }
        }
        trunk.slots = slots;
    }
}

/// Channels and places of an image.
fn channels(shape: Shape) -> (usize, usize) {
    match shape {
        Shape::Image {
            channels,
            height,
            width,
        } => (channels, height * width),
        _ => (1, shape.len()),
    }
}
