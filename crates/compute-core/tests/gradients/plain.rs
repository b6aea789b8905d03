//! Every layer again, in `f64` and straight from its definition, one row at a time.

use federation::model::{Architecture, Layer, Loss, Shape};

/// What a model yields for one row, `[terms, outputs]`.
pub(crate) fn yields(architecture: &Architecture, parameters: &[f64], row: &[f32]) -> Vec<f64> {
    let mut values: Vec<f64> = row.iter().copied().map(f64::from).collect();
    let mut given = Shape::Features(values.len());
    let mut rest = parameters;
    let mut kept = Vec::new();
    let mut tokens: &[f64] = &[];
    for (layer, shape) in architecture.layers().iter().zip(architecture.shapes()) {
        let (own, others) = rest.split_at(count(*layer));
        rest = others;
        values = match *layer {
            Layer::Linear { inputs, outputs } => {
                let (bias, weight) = own.split_at(outputs);
                values
                    .chunks(inputs)
                    .flat_map(|x| linear(x, bias, weight))
                    .collect()
            }
            Layer::Relu => values.iter().map(|x| x.max(0.0)).collect(),
            Layer::Gelu => values.iter().copied().map(gelu).collect(),
            Layer::Image { .. } | Layer::Flatten | Layer::Regression => values,
            Layer::Convolution { .. } => convolve(*layer, &values, given, shape, own),
            Layer::MaxPool { kernel, stride } => {
                pool(&values, given, shape, (kernel, stride), |window| {
                    window.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                })
            }
            Layer::AveragePool { kernel, stride } => {
                pool(&values, given, shape, (kernel, stride), |window| {
                    window.iter().sum::<f64>() / window.len() as f64
                })
            }
            Layer::Embedding { width, context, .. } => {
                tokens = &own[context * width..];
                embed(row, own, width, context)
            }
            Layer::LayerNorm { width } => {
                let (bias, weight) = own.split_at(width);
                let rows = values.chunks(width);
                rows.flat_map(|x| norm(x, bias, weight)).collect()
            }
            Layer::Attention { width, heads } => attend(&values, width, heads),
            Layer::Fork => {
                kept.push(values.clone());
                values
            }
            Layer::Join => {
                let kept = kept.pop().unwrap();
                values.iter().zip(kept).map(|(x, k)| x + k).collect()
            }
            Layer::TiedHead => {
                let Shape::Sequence { width, .. } = given else {
                    panic!("a tied head takes a sequence")
                };
                let none = vec![0.0; tokens.len() / width];
                values
                    .chunks(width)
                    .flat_map(|x| linear(x, &none, tokens))
                    .collect()
            }
        };
        given = shape;
    }
    values
}

/// How many parameters a layer has.
fn count(layer: Layer) -> usize {
    match layer {
        Layer::Linear { inputs, outputs } => outputs + inputs * outputs,
        Layer::Convolution {
            inputs,
            outputs,
            kernel,
            ..
        } => outputs + inputs * outputs * kernel * kernel,
        Layer::Embedding {
            vocabulary,
            width,
            context,
        } => (context + vocabulary) * width,
        Layer::LayerNorm { width } => 2 * width,
        _ => 0,
    }
}

/// The sum of each token's vector and its position's.
fn embed(row: &[f32], own: &[f64], width: usize, context: usize) -> Vec<f64> {
    let (positions, vectors) = own.split_at(context * width);
    let place = |(place, token): (usize, &f32)| {
        let token = (0..).position(|t: usize| t as f32 == *token).unwrap();
        let pairs = vectors[token * width..][..width]
            .iter()
            .zip(&positions[place * width..][..width]);
        pairs.map(|(v, p)| v + p).collect::<Vec<_>>()
    };
    row.iter().enumerate().flat_map(place).collect()
}

/// Mean loss over rows of `architecture`, whose labels or targets are `targets`.
pub(crate) fn loss(
    architecture: &Architecture,
    parameters: &[f64],
    features: &[f32],
    targets: &[f32],
) -> f64 {
    let (inputs, outputs) = (architecture.inputs(), architecture.outputs());
    let mut losses = Vec::new();
    let rows = features.chunks(inputs);
    let width = targets.len() / rows.len();
    for (row, targets) in rows.zip(targets.chunks(width)) {
        let values = yields(architecture, parameters, row);
        match architecture.loss() {
            Loss::Regression => {
                let squares = values
                    .iter()
                    .zip(targets)
                    .map(|(y, t)| (y - f64::from(*t)).powi(2));
                losses.push(squares.sum::<f64>() / outputs as f64);
            }
            Loss::Classification => losses.push(cross_entropy(&values, targets[0])),
            Loss::NextToken => {
                let next = row[1..].iter().chain(targets);
                for (logits, token) in values.chunks(outputs).zip(next) {
                    losses.push(cross_entropy(logits, *token));
                }
            }
        }
    }
    losses.iter().sum::<f64>() / losses.len() as f64
}

fn cross_entropy(logits: &[f64], label: f32) -> f64 {
    let own = (0..)
        .zip(logits)
        .find(|(index, _): &(u16, _)| f32::from(*index) == label);
    let sum: f64 = logits.iter().map(|z| z.exp()).sum();
    sum.ln() - own.unwrap().1
}

fn linear(x: &[f64], bias: &[f64], weight: &[f64]) -> Vec<f64> {
    let dot = |weights: &[f64]| weights.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    let rows = weight.chunks(x.len()).zip(bias);
    rows.map(|(weights, bias)| dot(weights) + bias).collect()
}

fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

fn norm(x: &[f64], bias: &[f64], weight: &[f64]) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = (variance + 1e-5).sqrt();
    let places = x.iter().zip(bias).zip(weight);
    places
        .map(|((x, b), w)| (x - mean) / scale * w + b)
        .collect()
}

fn sides(shape: Shape) -> (usize, usize, usize) {
    match shape {
        Shape::Image {
            channels,
            height,
            width,
        } => (channels, height, width),
        _ => panic!("{shape} is no image"),
    }
}

fn convolve(layer: Layer, values: &[f64], given: Shape, shape: Shape, own: &[f64]) -> Vec<f64> {
    let Layer::Convolution {
        inputs,
        outputs,
        kernel,
        stride,
        padding,
    } = layer
    else {
        panic!("not a convolution")
    };
    let ((_, height, width), (_, out_height, out_width)) = (sides(given), sides(shape));
    let (bias, weight) = own.split_at(outputs);
    let mut yielded = Vec::new();
    for (output, bias) in bias.iter().enumerate() {
        for y in 0..out_height {
            for x in 0..out_width {
                let mut sum = *bias;
                for input in 0..inputs {
                    for dy in 0..kernel {
                        for dx in 0..kernel {
                            let (row, column) = (y * stride + dy, x * stride + dx);
                            let inside = (padding..height + padding).contains(&row)
                                && (padding..width + padding).contains(&column);
                            if inside {
                                let place = (input * height + row - padding) * width + column;
                                let at = ((output * inputs + input) * kernel + dy) * kernel + dx;
                                sum += weight[at] * values[place - padding];
                            }
                        }
                    }
                }
                yielded.push(sum);
            }
        }
    }
    yielded
}

fn pool(
    values: &[f64],
    given: Shape,
    shape: Shape,
    (kernel, stride): (usize, usize),
    reduce: impl Fn(&[f64]) -> f64,
) -> Vec<f64> {
    let ((_, height, width), (channels, out_height, out_width)) = (sides(given), sides(shape));
    let mut yielded = Vec::new();
    for channel in 0..channels {
        for y in 0..out_height {
            for x in 0..out_width {
                let places = (0..kernel).flat_map(|dy| (0..kernel).map(move |dx| (dy, dx)));
                let window: Vec<f64> = places
                    .map(|(dy, dx)| {
                        let row = channel * height + y * stride + dy;
                        values[row * width + x * stride + dx]
                    })
                    .collect();
                yielded.push(reduce(&window));
            }
        }
    }
    yielded
}

fn attend(values: &[f64], width: usize, heads: usize) -> Vec<f64> {
    let rows: Vec<&[f64]> = values.chunks(3 * width).collect();
    let own = width / heads;
    let mut yielded = vec![0.0; rows.len() * width];
    for head in 0..heads {
        let part =
            |position: usize, which: usize| &rows[position][which * width + head * own..][..own];
        for position in 0..rows.len() {
            let weights: Vec<f64> = (0..=position)
                .map(|other| {
                    let pairs = part(position, 0).iter().zip(part(other, 1));
                    let product: f64 = pairs.map(|(q, k)| q * k).sum();
                    (product / (own as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            for (other, weight) in weights.iter().enumerate() {
                let to = &mut yielded[position * width + head * own..][..own];
                for (y, v) in to.iter_mut().zip(part(other, 2)) {
                    *y += weight / sum * v;
                }
            }
        }
    }
    yielded
}
