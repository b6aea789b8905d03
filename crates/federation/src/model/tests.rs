//! Which layers make a model.

use super::*;

fn mlp(hidden: &[usize]) -> ModelSpec {
    ModelSpec::Mlp {
        hidden: hidden.to_vec(),
        activation: Activation::Relu,
    }
}

#[test]
fn an_mlp_counts_the_parameters_of_mcmahans_2nn() {
    // Source: McMahan et al. 2017, section 3: the MNIST 2NN has 199,210 parameters.
    let model = mlp(&[200, 200]).architecture(784, 10).unwrap();
    assert_eq!(model.num_parameters(), 199_210);
}

#[test]
fn tensors_are_sorted_by_name() {
    let model = mlp(&[8; 12]).architecture(4, 2).unwrap();
    let names: Vec<_> = model
        .tensors()
        .into_iter()
        .map(|tensor| tensor.name)
        .collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
}

#[test]
fn layers_that_disagree_are_named() {
    let layers = vec![
        Layer::Linear {
            inputs: 4,
            outputs: 8,
        },
        Layer::Relu,
        Layer::Linear {
            inputs: 9,
            outputs: 2,
        },
    ];
    let error = Architecture::new(layers).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 2 takes 9 inputs but the layers before it yield 8"
    );
}

#[test]
fn a_model_larger_than_we_count_is_refused() {
    for (width, parameters) in [(1 << 31, 75 * (1 << 31) + 10), (usize::MAX, usize::MAX)] {
        assert_eq!(
            mlp(&[width]).architecture(64, 10),
            Err(ModelError::TooLarge { parameters })
        );
    }
}

#[test]
fn a_hidden_layer_of_zero_is_refused() {
    assert!(matches!(
        mlp(&[0]).architecture(64, 10),
        Err(ModelError::EmptyLayer { index: 0, .. })
    ));
}

fn image(channels: usize, height: usize, width: usize) -> Layer {
    Layer::Image {
        channels,
        height,
        width,
    }
}

fn convolution(inputs: usize, outputs: usize, padding: usize) -> Layer {
    Layer::Convolution {
        inputs,
        outputs,
        kernel: 3,
        stride: 1,
        padding,
    }
}

fn linear(inputs: usize, outputs: usize) -> Layer {
    Layer::Linear { inputs, outputs }
}

const POOL: Layer = Layer::MaxPool {
    kernel: 2,
    stride: 2,
};

const EMBEDDING: Layer = Layer::Embedding {
    vocabulary: 65,
    width: 16,
    context: 8,
};

fn refusal(layers: &[Layer]) -> String {
    Architecture::new(layers.to_vec()).unwrap_err().to_string()
}

#[test]
fn a_convolutional_model_counts_its_parameters_and_shapes() {
    let layers = vec![
        image(1, 28, 28),
        convolution(1, 32, 1),
        Layer::Relu,
        POOL,
        convolution(32, 64, 1),
        Layer::Relu,
        POOL,
        Layer::Flatten,
        linear(3136, 10),
    ];
    let model = Architecture::new(layers).unwrap();
    assert_eq!(model.num_parameters(), 320 + 18_496 + 31_370);
    assert_eq!((model.inputs(), model.outputs()), (784, 10));
    assert_eq!(
        model.shapes()[4],
        Shape::Image {
            channels: 64,
            height: 14,
            width: 14
        }
    );
    let tensors = model.tensors();
    assert_eq!(tensors[1].name, "layers.001.weight");
    assert_eq!(tensors[1].shape, [32, 1, 3, 3]);
}

#[test]
fn layers_that_do_not_fit_an_image_are_refused_with_its_shape() {
    assert_eq!(
        refusal(&[
            image(1, 28, 28),
            convolution(3, 8, 1),
            Layer::Flatten,
            linear(1, 2)
        ]),
        "layer 1 (convolution) takes an image of 3 channels, but gets an image of 1 × 28 × 28"
    );
    assert_eq!(
        refusal(&[
            image(1, 2, 9),
            convolution(1, 8, 0),
            Layer::Flatten,
            linear(1, 2)
        ]),
        "layer 1 (convolution) takes an image of at least 3 × 3 places, but gets an image of \
         1 × 2 × 9"
    );
    assert_eq!(
        refusal(&[image(1, 4, 4), POOL, linear(4, 2)]),
        "layer 2 (linear) takes 4 features, or a sequence of positions of 4, but gets an image \
         of 1 × 2 × 2"
    );
    assert_eq!(
        refusal(&[
            image(1, 4, 4),
            convolution(1, 2, 3),
            Layer::Flatten,
            linear(1, 2)
        ]),
        "layer 1 (convolution) takes a padding below its kernel of 3, not one of 3"
    );
    assert_eq!(
        refusal(&[
            image(1, 1 << 20, 1 << 20),
            Layer::Flatten,
            linear(1 << 40, 2)
        ]),
        "layer 0 (image) yields an image of 1 × 1048576 × 1048576, 1099511627776 numbers; a row \
         may have 16777216"
    );
    assert_eq!(
        refusal(&[image(1, 0, 4), Layer::Flatten, linear(1, 2)]),
        "layer 0 (image) has height 0; must be at least 1"
    );
}

#[test]
fn a_tied_head_yields_the_vocabulary() {
    let layers = vec![EMBEDDING, Layer::LayerNorm { width: 16 }, Layer::TiedHead];
    let model = Architecture::new(layers).unwrap();
    assert_eq!((model.inputs(), model.outputs()), (8, 65));
    assert_eq!(model.loss(), Loss::NextToken);
    assert_eq!(model.num_parameters(), (65 + 8) * 16 + 32);
}

#[test]
fn layers_that_do_not_fit_a_sequence_are_refused_with_its_shape() {
    let attention = |heads| Layer::Attention { width: 16, heads };
    assert_eq!(
        refusal(&[EMBEDDING, attention(2), Layer::TiedHead]),
        "layer 1 (attention) takes a sequence of queries, keys and values of 16 each, but gets a \
         sequence of 8 × 16"
    );
    assert_eq!(
        refusal(&[EMBEDDING, linear(16, 48), attention(3), Layer::TiedHead]),
        "layer 2 (attention) takes a number of heads that divides its width of 16, not 3"
    );
    assert_eq!(
        refusal(&[EMBEDDING, linear(16, 8), Layer::TiedHead]),
        "layer 2 (tied_head) takes positions as wide as the embedding's 16, but gets a sequence \
         of 8 × 8"
    );
    assert_eq!(
        refusal(&[EMBEDDING, linear(16, 64)]),
        "layer 1 (linear) must yield one logit for each token of the embedding's vocabulary"
    );
}

#[test]
fn forks_and_joins_stand_in_pairs_around_one_shape() {
    let block = [
        linear(4, 4),
        Layer::Fork,
        linear(4, 4),
        Layer::Join,
        linear(4, 2),
    ];
    assert!(Architecture::new(block.to_vec()).is_ok());
    assert_eq!(
        refusal(&[
            linear(4, 4),
            Layer::Fork,
            linear(4, 3),
            Layer::Join,
            linear(3, 2)
        ]),
        "layer 3 (join) takes 4 features, as its fork kept, but gets 3 features"
    );
    assert_eq!(
        refusal(&[linear(4, 4), Layer::Join, linear(4, 2)]),
        "layer 1 (join) has no fork before it"
    );
    assert_eq!(
        refusal(&[linear(4, 4), Layer::Fork, linear(4, 2)]),
        "layer 1 (fork) has no join after it"
    );
}

#[test]
fn a_regression_yields_values() {
    let model = Architecture::new(vec![linear(4, 2), Layer::Regression]).unwrap();
    assert_eq!((model.loss(), model.outputs()), (Loss::Regression, 2));
    assert_eq!(
        refusal(&[Layer::Regression, linear(4, 2)]),
        "the model has no linear layer; at least one is needed"
    );
}

#[test]
fn a_layer_reads_as_it_is_written() {
    let text = r#"{"kind":"convolution","inputs":1,"outputs":8,"kernel":3}"#;
    let layer: Layer = serde_json::from_str(text).unwrap();
    assert_eq!(layer, convolution(1, 8, 0));
    let text = r#"{"kind":"linear","inputs":4,"outputs":2}"#;
    assert_eq!(serde_json::to_string(&linear(4, 2)).unwrap(), text);
}

fn cnn(image: Option<[usize; 3]>) -> ModelSpec {
    ModelSpec::Cnn {
        channels: vec![32, 64],
        kernel: 3,
        hidden: vec![128],
        image,
    }
}

#[test]
fn a_cnn_takes_square_rows_for_images() {
    let model = cnn(None).architecture(784, 10).unwrap();
    assert_eq!(model.num_parameters(), 320 + 18_496 + 401_536 + 1_290);
    let coloured = cnn(None).architecture(3 * 32 * 32, 10).unwrap();
    assert_eq!(
        coloured.layers()[0],
        Layer::Image {
            channels: 3,
            height: 32,
            width: 32
        }
    );
    assert_eq!(
        cnn(None).architecture(785, 10).unwrap_err().to_string(),
        "a row of 785 features is no square image of one channel or three; say what it is with \
         `image: [channels, height, width]`"
    );
    assert_eq!(
        cnn(Some([1, 28, 28]))
            .architecture(64, 10)
            .unwrap_err()
            .to_string(),
        "the model takes rows of 784 features, but there are 64"
    );
}

#[test]
fn a_gpt_counts_its_parameters() {
    let gpt = ModelSpec::Gpt {
        blocks: 4,
        width: 128,
        heads: 4,
    };
    let model = gpt.architecture(64, 65).unwrap();
    // Of each block: two norms, 128 → 384, 128 → 128, 128 → 512 and 512 → 128, with biases.
    let block = 4 * 128 + 129 * 384 + 129 * 128 + 129 * 512 + 513 * 128;
    assert_eq!(
        model.num_parameters(),
        (65 + 64) * 128 + 4 * block + 2 * 128
    );
    let odd = ModelSpec::Gpt {
        blocks: 1,
        width: 10,
        heads: 3,
    };
    assert!(odd.architecture(8, 5).is_err());
    let endless = ModelSpec::Gpt {
        blocks: usize::MAX,
        width: 8,
        heads: 2,
    };
    assert!(matches!(
        endless.architecture(8, 5),
        Err(ModelError::TooManyLayers { .. })
    ));
}

#[test]
fn layers_must_fit_the_rows() {
    let spec = ModelSpec::Layers {
        layers: vec![linear(4, 3)],
    };
    assert!(spec.architecture(4, 3).is_ok());
    assert_eq!(
        spec.architecture(4, 2).unwrap_err().to_string(),
        "the model yields 3 logits, but there are 2 classes"
    );
    assert_eq!(
        spec.architecture(5, 3).unwrap_err().to_string(),
        "the model takes rows of 4 features, but there are 5"
    );
}
