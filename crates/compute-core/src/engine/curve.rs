//! The element-wise functions between linear layers, and the exponential behind them.
//!
//! Loops here are branch-free and inlined into the callers' vector dispatch, so that they run as
//! wide as the CPU allows. They add and multiply without fusing, so every width gives the same bits.

use federation::model::Layer;

/// The activations between one linear layer and the next, mostly one or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Curve(Vec<Activation>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Relu,
    Gelu,
}

impl Curve {
    /// Puts `layer` on top, if it is an activation.
    pub(super) fn then(&mut self, layer: Layer) {
        match layer {
            Layer::Relu => self.0.push(Activation::Relu),
            Layer::Gelu => self.0.push(Activation::Gelu),
            _ => {}
        }
    }

    /// Whether the slope needs what went into the curve; a rectifier's shows in what came out.
    pub(super) fn keeps_input(&self) -> bool {
        !matches!(*self.0, [] | [Activation::Relu])
    }

    /// Replaces every `x` by the curve's value at `x`.
    #[inline(always)]
    pub(super) fn bend(&self, values: &mut [f32]) {
        match *self.0 {
            [] => {}
            [Activation::Relu] => values.iter_mut().for_each(|x| *x = relu(*x)),
            [Activation::Gelu] => values.iter_mut().for_each(|x| *x = gelu(*x).0),
            _ => values.iter_mut().for_each(|x| *x = self.at(*x).0),
        }
    }

    /// Replaces every `x` by the curve's value at `x`, and keeps the slope there.
    #[inline(always)]
    pub(super) fn bend_and_keep(&self, values: &mut [f32], slopes: &mut [f32]) {
        let pairs = values.iter_mut().zip(slopes);
        match *self.0 {
            [Activation::Gelu] => pairs.for_each(|(x, slope)| (*x, *slope) = gelu(*x)),
            _ => pairs.for_each(|(x, slope)| (*x, *slope) = self.at(*x)),
        }
    }

    /// Multiplies every gradient by the slope that [`Self::bend_and_keep`] kept, or by the one that
    /// shows in the value where [`Self::keeps_input`] is false.
    #[inline(always)]
    pub(super) fn chain_kept(&self, seen: &[f32], gradients: &mut [f32]) {
        if self.keeps_input() {
            let pairs = gradients.iter_mut().zip(seen);
            pairs.for_each(|(g, slope)| *g *= slope);
        } else {
            self.chain(seen, gradients);
        }
    }

    /// Multiplies every gradient by the curve's slope.
    ///
    /// `seen` is what went into the curve, or what came out where [`Self::keeps_input`] is false.
    #[inline(always)]
    pub(super) fn chain(&self, seen: &[f32], gradients: &mut [f32]) {
        let pairs = gradients.iter_mut().zip(seen);
        match *self.0 {
            [] => {}
            [Activation::Relu] => pairs.for_each(|(g, y)| *g = if *y > 0.0 { *g } else { 0.0 }),
            [Activation::Gelu] => pairs.for_each(|(g, x)| *g *= gelu(*x).1),
            _ => pairs.for_each(|(g, x)| *g *= self.at(*x).1),
        }
    }

    /// Value and slope at `x`, by the chain rule.
    fn at(&self, x: f32) -> (f32, f32) {
        self.0.iter().fold((x, 1.0), |(x, slope), activation| {
            let (value, own) = match activation {
                Activation::Relu => (relu(x), if x > 0.0 { 1.0 } else { 0.0 }),
                Activation::Gelu => gelu(x),
            };
            (value, slope * own)
        })
    }
}

/// `max(x, 0)`, but NaN stays NaN, so that a diverged model is noticed.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Value and slope of the GELU's tanh approximation, which is `x σ(2u)` with
/// `u = √(2/π) (x + 0.044715 x³)`.
///
/// # Source
///
/// Hendrycks and Gimpel 2016, section 2, <https://arxiv.org/abs/1606.08415>;
/// `½ (1 + tanh u) = σ(2u)`.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    const CUBIC: f32 = 0.044_715;
    const TWICE_ROOT: f32 = 2.0 * 0.797_884_6; // 2 √(2/π)
    let square = x * x;
    let sigmoid = 1.0 / (1.0 + exp(-TWICE_ROOT * x * (1.0 + CUBIC * square)));
    let inner_slope = TWICE_ROOT * (1.0 + 3.0 * CUBIC * square);
    let value = x * sigmoid;
    (value, sigmoid + value * (1.0 - sigmoid) * inner_slope)
}

/// `eˣ` to within 3 units in the last place, for `x` clamped to −87…88, where `f32` is normal.
///
/// Written out because the standard library's is a call, which no loop can vectorise. `x` is
/// split into `n ln 2 + r` with `|r| ≤ ½ ln 2`; the Taylor series of `eʳ` up to `r⁷` is then good
/// to `5e-9`, and `2ⁿ` is made in the exponent bits.
///
/// # Source
///
/// Muller, Elementary Functions, 3rd edition, section 11.1 (Cody and Waite's two-part `ln 2`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: adding it rounds to an integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// The leading bits of ln 2, so few that `n` times them is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    /// `ln 2 − LN_2_HIGH`.
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let series = [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ]
    .into_iter()
    .fold(1.0 / 5040.0, |sum, coefficient| sum * r + coefficient);
    series * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_good_to_three_units_in_the_last_place() {
        for i in -8_700..8_800_i16 {
            let x = f32::from(i) / 100.0;
            let truth = f64::from(x).exp();
            let error = (f64::from(exp(x)) / truth - 1.0).abs();
            assert!(
                error < 3.0 * f64::from(f32::EPSILON) / 2.0,
                "exp({x}): {error}"
            );
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn gelu_follows_its_formula_and_its_slope_the_formulas_difference() {
        let truth = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        };
        for i in -600..600_i16 {
            let x = f64::from(i) / 100.0;
            let (value, slope) = gelu(f32::from(i) / 100.0);
            let difference = (truth(x + 1e-5) - truth(x - 1e-5)) / 2e-5;
            assert!((f64::from(value) - truth(x)).abs() < 2e-6, "{x}");
            assert!((f64::from(slope) - difference).abs() < 2e-6, "{x}");
        }
    }

    #[test]
    fn activations_compose_by_the_chain_rule() {
        let mut curve = Curve::default();
        curve.then(Layer::Gelu);
        curve.then(Layer::Relu);
        assert!(curve.keeps_input());
        let (mut values, mut gradients) = ([-1.0, 2.0], [1.0, 1.0]);
        curve.chain(&values, &mut gradients);
        curve.bend(&mut values);
        let (value, slope) = gelu(2.0);
        for (actual, expected) in [(values, [0.0, value]), (gradients, [0.0, slope])] {
            assert!((actual[0] - expected[0]).abs() < 1e-6);
            assert!((actual[1] - expected[1]).abs() < 1e-6);
        }
    }

    #[test]
    fn a_rectifier_passes_nan_on() {
        let mut values = [f32::NAN];
        let mut curve = Curve::default();
        curve.then(Layer::Relu);
        curve.bend(&mut values);
        assert!(values[0].is_nan());
    }
}
