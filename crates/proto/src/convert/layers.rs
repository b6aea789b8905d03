//! Layers on the wire.

use federation::model::Layer;

use super::InvalidMessage;
use crate::v1;
use crate::v1::layer;

/// A width as this machine counts; one beyond its sizes is refused with the model's shape.
pub(super) fn width(width: u64) -> usize {
    usize::try_from(width).unwrap_or(usize::MAX)
}

pub(super) fn image([channels, height, width]: [usize; 3]) -> layer::Image {
    layer::Image {
        channels: channels as u64,
        height: height as u64,
        width: width as u64,
    }
}

impl From<Layer> for v1::Layer {
    fn from(layer: Layer) -> Self {
        let pool = |kernel: usize, stride: usize| layer::Pool {
            kernel: kernel as u64,
            stride: stride as u64,
        };
        let kind = match layer {
            Layer::Linear { inputs, outputs } => layer::Kind::Linear(layer::Linear {
                inputs: inputs as u64,
                outputs: outputs as u64,
            }),
            Layer::Relu => layer::Kind::Relu(layer::Relu {}),
            Layer::Gelu => layer::Kind::Gelu(layer::Gelu {}),
            Layer::Image {
                channels,
                height,
                width,
            } => layer::Kind::Image(image([channels, height, width])),
            Layer::Convolution {
                inputs,
                outputs,
                kernel,
                stride,
                padding,
            } => layer::Kind::Convolution(layer::Convolution {
                inputs: inputs as u64,
                outputs: outputs as u64,
                kernel: kernel as u64,
                stride: stride as u64,
                padding: padding as u64,
            }),
            Layer::MaxPool { kernel, stride } => layer::Kind::MaxPool(pool(kernel, stride)),
            Layer::AveragePool { kernel, stride } => layer::Kind::AveragePool(pool(kernel, stride)),
            Layer::Flatten => layer::Kind::Flatten(layer::Flatten {}),
            Layer::Embedding {
                vocabulary,
                width,
                context,
            } => layer::Kind::Embedding(layer::Embedding {
                vocabulary: vocabulary as u64,
                width: width as u64,
                context: context as u64,
            }),
            Layer::LayerNorm { width } => layer::Kind::LayerNorm(layer::LayerNorm {
                width: width as u64,
            }),
            Layer::Attention { width, heads } => layer::Kind::Attention(layer::Attention {
                width: width as u64,
                heads: heads as u64,
            }),
            Layer::Fork => layer::Kind::Fork(layer::Fork {}),
            Layer::Join => layer::Kind::Join(layer::Join {}),
            Layer::TiedHead => layer::Kind::TiedHead(layer::TiedHead {}),
            Layer::Regression => layer::Kind::Regression(layer::Regression {}),
        };
        Self { kind: Some(kind) }
    }
}

/// The layers of `field`.
pub(super) fn layers(field: &str, messages: &[v1::Layer]) -> Result<Vec<Layer>, InvalidMessage> {
    let read = |(index, message): (usize, &v1::Layer)| {
        let kind = message.kind.as_ref().map(layer_of);
        kind.ok_or_else(|| {
            let message = "must be one of linear, relu, gelu, image, convolution, max_pool, \
                           average_pool, flatten, embedding, layer_norm, attention, fork, join, \
                           tied_head, regression";
            InvalidMessage::new(format!("{field}[{index}]"), message)
        })
    };
    messages.iter().enumerate().map(read).collect()
}

fn layer_of(kind: &layer::Kind) -> Layer {
    match kind {
        layer::Kind::Linear(linear) => Layer::Linear {
            inputs: width(linear.inputs),
            outputs: width(linear.outputs),
        },
        layer::Kind::Relu(_) => Layer::Relu,
        layer::Kind::Gelu(_) => Layer::Gelu,
        layer::Kind::Image(image) => Layer::Image {
            channels: width(image.channels),
            height: width(image.height),
            width: width(image.width),
        },
        layer::Kind::Convolution(convolution) => Layer::Convolution {
            inputs: width(convolution.inputs),
            outputs: width(convolution.outputs),
            kernel: width(convolution.kernel),
            stride: width(convolution.stride),
            padding: width(convolution.padding),
        },
        layer::Kind::MaxPool(pool) => Layer::MaxPool {
            kernel: width(pool.kernel),
            stride: width(pool.stride),
        },
        layer::Kind::AveragePool(pool) => Layer::AveragePool {
            kernel: width(pool.kernel),
            stride: width(pool.stride),
        },
        layer::Kind::Flatten(_) => Layer::Flatten,
        layer::Kind::Embedding(embedding) => Layer::Embedding {
            vocabulary: width(embedding.vocabulary),
            width: width(embedding.width),
            context: width(embedding.context),
        },
        layer::Kind::LayerNorm(norm) => Layer::LayerNorm {
            width: width(norm.width),
        },
        layer::Kind::Attention(attention) => Layer::Attention {
            width: width(attention.width),
            heads: width(attention.heads),
        },
        layer::Kind::Fork(_) => Layer::Fork,
        layer::Kind::Join(_) => Layer::Join,
        layer::Kind::TiedHead(_) => Layer::TiedHead,
        layer::Kind::Regression(_) => Layer::Regression,
    }
}
