//! Where a model starts.

use federation::model::{Architecture, Layer};
use federation::seed;
use rand::RngExt;

/// Standard deviation of fresh token vectors and positions: that of GPT-2
/// (<https://github.com/openai/gpt-2/blob/master/src/model.py>). Much larger ones, as a tied head
/// reads them, would make the first logits far too sure.
const EMBEDDING_DEVIATION: f32 = 0.02;

/// Fresh parameters: every weight and bias of a linear layer from `U(−1/√inputs, 1/√inputs)`, and
/// of a convolution likewise with the numbers of its window; of an embedding from a uniform
/// distribution of standard deviation 0.02; of a layer norm 1 and 0.
///
/// Each tensor draws from its own stream `init`, numbered by its place in the layout, so that a
/// wider layer does not change what its neighbours start with.
///
/// # Shapes
///
/// Output: `[n_params]`, the concatenation of [`Architecture::tensors`].
///
/// # Source
///
/// The default of PyTorch's `nn.Linear`, which is He et al. 2015 (arXiv 1502.01852) with `a = √5`:
/// <https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html>.
#[must_use]
pub fn initial_parameters(architecture: &Architecture, seed: u64) -> Vec<f32> {
    let starts = architecture
        .layers()
        .iter()
        .flat_map(|layer| start_of(*layer));
    let mut parameters = Vec::with_capacity(architecture.num_parameters());
    for ((index, tensor), start) in (0_u64..).zip(architecture.tensors()).zip(starts) {
        let mut chance = seed::stream(seed, "init", &[index]);
        parameters.extend((0..tensor.len()).map(|_| match start {
            Start::Uniform(bound) => bound * (2.0 * chance.random::<f32>() - 1.0),
            Start::Constant(value) => value,
        }));
    }
    parameters
}

/// What a tensor starts with.
#[derive(Clone, Copy)]
enum Start {
    /// Between minus the bound and the bound.
    Uniform(f32),
    Constant(f32),
}

/// Of each tensor of a layer, in the order of their names.
fn start_of(layer: Layer) -> impl Iterator<Item = Start> {
    let fan_in = |inputs: usize| Start::Uniform(1.0 / (inputs as f32).sqrt());
    let starts = match layer {
        Layer::Linear { inputs, .. } => Some([fan_in(inputs); 2]),
        Layer::Convolution { inputs, kernel, .. } => Some([fan_in(inputs * kernel * kernel); 2]),
        Layer::Embedding { .. } => Some([Start::Uniform(EMBEDDING_DEVIATION * 3.0_f32.sqrt()); 2]),
        Layer::LayerNorm { .. } => Some([Start::Constant(0.0), Start::Constant(1.0)]),
        _ => None,
    };
    starts.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use federation::model::{Activation, ModelSpec};

    fn architecture(hidden: usize) -> Architecture {
        let spec = ModelSpec::Mlp {
            hidden: vec![hidden],
            activation: Activation::Relu,
        };
        spec.architecture(100, 3).unwrap()
    }

    #[test]
    fn parameters_fill_the_uniform_interval_of_their_layer() {
        let architecture = architecture(25);
        let parameters = initial_parameters(&architecture, 1);
        assert_eq!(parameters.len(), architecture.num_parameters());
        let (first, last) = parameters.split_at(25 + 2500);
        for (part, bound) in [(first, 0.1_f32), (last, 0.2_f32)] {
            let widest = part.iter().fold(0.0_f32, |widest, x| widest.max(x.abs()));
            assert!(widest <= bound && widest > 0.9 * bound, "{widest}");
        }
        let mean = first.iter().sum::<f32>() / 2525.0;
        assert!(mean.abs() < 0.005, "{mean}");
    }

    #[test]
    fn a_seed_fixes_the_parameters_and_another_changes_them() {
        let architecture = architecture(8);
        assert_eq!(
            initial_parameters(&architecture, 7),
            initial_parameters(&architecture, 7)
        );
        assert_ne!(
            initial_parameters(&architecture, 7),
            initial_parameters(&architecture, 8)
        );
    }

    #[test]
    fn a_wider_neighbour_leaves_the_first_draws_alone() {
        let narrow = initial_parameters(&architecture(8), 7);
        let wide = initial_parameters(&architecture(9), 7);
        assert_eq!(narrow[..8], wide[..8]);
    }
}
