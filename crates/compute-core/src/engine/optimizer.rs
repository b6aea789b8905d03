//! How gradients change parameters.

use federation::local::Optimizer;
use std::mem;

/// A stretch of the parameters, with what belongs to it.
#[derive(Default)]
pub(super) struct Part<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) gradient: &'a mut [f32],
    /// Momentum, or the mean of gradients; empty where the rule has no memory.
    pub(super) first: &'a mut [f32],
    /// The mean of squared gradients; empty except for `AdamW`.
    pub(super) second: &'a mut [f32],
}

impl<'a> Part<'a> {
    /// The first `count` parameters and the others, for a while.
    pub(super) fn split_at(&mut self, count: usize) -> (Part<'_>, Part<'_>) {
        let mut others = Part {
            values: self.values,
            gradient: self.gradient,
            first: self.first,
            second: self.second,
        };
        (others.split_off(count), others)
    }

    /// Takes the first `count` parameters off, with their gradients and memory.
    pub(super) fn split_off(&mut self, count: usize) -> Part<'a> {
        fn take<'a>(slice: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
            let count = count.min(slice.len());
            let (head, tail) = mem::take(slice).split_at_mut(count);
            *slice = tail;
            head
        }
        Part {
            values: take(&mut self.values, count),
            gradient: take(&mut self.gradient, count),
            first: take(&mut self.first, count),
            second: take(&mut self.second, count),
        }
    }
}

/// Vectors of memory a rule keeps for each parameter.
pub(super) fn slots(optimizer: Optimizer) -> usize {
    match optimizer {
        Optimizer::Sgd { momentum: 0.0, .. } => 0,
        Optimizer::Sgd { .. } => 1,
        Optimizer::AdamW { .. } => 2,
    }
}

/// One step of an optimizer, with what depends on the step's number computed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// The gradient is only summed: what moves the parameters waits for its length.
    Wait,
    /// `w ← w − η (g + λw)`
    Descent { learning_rate: f32, decay: f32 },
    /// `v ← μv + g + λw`, `w ← w − ηv`
    Momentum {
        learning_rate: f32,
        momentum: f32,
        decay: f32,
    },
    /// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `w ← keep·w − rate · m / (scale·√v + ε)`
    AdamW {
        /// `1 − ηλ`
        keep: f32,
        /// `η / (1 − β₁ᵗ)`
        rate: f32,
        /// `1 / √(1 − β₂ᵗ)`
        scale: f32,
        beta1: f32,
        beta2: f32,
        epsilon: f32,
    },
}

impl Rule {
    /// The rule of `optimizer` at step `step`, counted from 1, at `factor` times its rate.
    ///
    /// # Source
    ///
    /// - PyTorch's `SGD` without dampening, <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>.
    /// - Loshchilov and Hutter 2019, Algorithm 2, <https://arxiv.org/abs/1711.05101>, with the decay
    ///   scaled by η as in PyTorch's `AdamW`.
    pub(super) fn at(optimizer: Optimizer, step: u64, factor: f64) -> Self {
        let scaled = |rate: f32| narrow(f64::from(rate) * factor);
        match optimizer {
            Optimizer::Sgd {
                learning_rate,
                momentum: 0.0,
                weight_decay: decay,
            } => Self::Descent {
                learning_rate: scaled(learning_rate),
                decay,
            },
            Optimizer::Sgd {
                learning_rate,
                momentum,
                weight_decay: decay,
            } => Self::Momentum {
                learning_rate: scaled(learning_rate),
                momentum,
                decay,
            },
            Optimizer::AdamW {
                learning_rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let learning_rate = scaled(learning_rate);
                let bias = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
                Self::AdamW {
                    keep: narrow(1.0 - f64::from(learning_rate) * f64::from(weight_decay)),
                    rate: narrow(f64::from(learning_rate) / bias(beta1)),
                    scale: narrow(1.0 / bias(beta2).sqrt()),
                    beta1,
                    beta2,
                    epsilon,
                }
            }
        }
    }

    /// Moves `part` along its gradient.
    ///
    /// # Shapes
    ///
    /// Values and gradient `[n]`; memory `[n]` as far as [`slots`] says there is any.
    #[inline(always)]
    pub(super) fn apply(&self, part: &mut Part<'_>) {
        let pairs = part.values.iter_mut().zip(part.gradient.iter());
        match *self {
            Self::Wait => {}
            Self::Descent {
                learning_rate,
                decay,
            } => pairs.for_each(|(w, g)| *w -= learning_rate * (g + decay * *w)),
            Self::Momentum {
                learning_rate,
                momentum,
                decay,
            } => pairs.zip(part.first.iter_mut()).for_each(|((w, g), v)| {
                *v = momentum * *v + (g + decay * *w);
                *w -= learning_rate * *v;
            }),
            Self::AdamW {
                keep,
                rate,
                scale,
                beta1,
                beta2,
                epsilon,
            } => {
                let memory = part.first.iter_mut().zip(part.second.iter_mut());
                pairs.zip(memory).for_each(|((w, g), (m, v))| {
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * (g * g);
                    *w = keep * *w - rate * (*m / (scale * v.sqrt() + epsilon));
                });
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding a factor near its f32 neighbours is what is wanted"
)]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `gradients` one after the other through a parameter that starts at `value`.
    fn run(optimizer: Optimizer, value: f32, gradients: &[f32]) -> Vec<f32> {
        let (mut value, mut first, mut second) = ([value], [0.0], [0.0]);
        (1..)
            .zip(gradients)
            .map(|(step, gradient)| {
                Rule::at(optimizer, step, 1.0).apply(&mut Part {
                    values: &mut value,
                    gradient: &mut [*gradient],
                    first: &mut first,
                    second: &mut second,
                });
                value[0]
            })
            .collect()
    }

    fn assert_close(actual: &[f32], expected: &[f32]) {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 2e-7, "{actual:?} is not {expected:?}");
        }
    }

    #[test]
    fn plain_descent_subtracts_the_scaled_gradient() {
        let sgd = Optimizer::Sgd {
            learning_rate: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
        };
        assert_close(&run(sgd, 1.0, &[0.5, -0.25]), &[0.95, 0.975]);
    }

    #[test]
    fn momentum_and_coupled_decay_follow_the_documented_recurrence() {
        // By hand, from the recurrence in PyTorch's documentation of SGD, with η 0.1, μ 0.9, λ 0.01:
        // v₁ = 0.5 + 0.01·1 = 0.51, w₁ = 1 − 0.051 = 0.949;
        // v₂ = 0.9·0.51 + 0.5 + 0.01·0.949 = 0.96849, w₂ = 0.949 − 0.096849 = 0.852151;
        // v₃ = 0.9·0.96849 − 0.5 + 0.01·0.852151 = 0.38016251, w₃ = 0.814134749.
        let sgd = Optimizer::Sgd {
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 0.01,
        };
        assert_close(
            &run(sgd, 1.0, &[0.5, 0.5, -0.5]),
            &[0.949, 0.852_151, 0.814_134_8],
        );
    }

    #[test]
    fn adamw_is_bias_corrected_and_decays_apart_from_the_gradient() {
        // By hand, from the algorithm in PyTorch's documentation of AdamW, with η 0.1, β 0.9 and
        // 0.999, λ 0.01, ε 1e-8. Step 1: m̂ = 0.5, v̂ = 0.25, w₁ = 0.999 − 0.1·0.5/0.5 = 0.899.
        // Step 2: m = 0.9·0.05 + 0.1·(−0.25) = 0.02, m̂ = 0.02/0.19 = 0.105263158;
        // v = 0.999·0.00025 + 0.001·0.0625 = 0.00031225, v̂ = 0.00031225/0.001999 = 0.156203102;
        // w₂ = 0.899·0.999 − 0.1·0.105263158/0.395225381 = 0.898101 − 0.026633704 = 0.871467296.
        let adamw = Optimizer::AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
        };
        assert_close(&run(adamw, 1.0, &[0.5, -0.25]), &[0.899, 0.871_467_3]);
    }
}
