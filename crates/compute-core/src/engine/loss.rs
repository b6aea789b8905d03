//! Softmax and cross-entropy of one row of logits.
//!
//! The largest logit is subtracted first, so that no exponential overflows.

use super::curve::exp;
use super::forward::Block;
use super::lanes;
use federation::model::Loss;

/// Turns what a model yields for a block of rows into the gradient of its loss, in place, and fills
/// the losses in. Gives how many of a label's logits no other is larger than.
///
/// `weight` is that of one loss in the batch's mean.
#[inline(always)]
pub(super) fn grade(loss: Loss, width: usize, block: Block<'_>, weight: f32) -> u32 {
    let rows = block.logits.chunks_exact_mut(width);
    if loss == Loss::Regression {
        let rows = rows
            .zip(block.targets.chunks_exact(width))
            .zip(block.losses);
        for ((values, targets), loss) in rows {
            *loss = squared_error_gradient(values, targets, weight);
        }
        return 0;
    }
    let mut right = 0;
    for ((logits, label), loss) in rows.zip(block.labels).zip(block.losses) {
        let is_right;
        (*loss, is_right) = cross_entropy_gradient(logits, *label, weight);
        right += u32::from(is_right);
    }
    right
}

/// Fills the losses of a block of rows in.
#[inline(always)]
pub(super) fn measure(loss: Loss, width: usize, block: Block<'_>) {
    let rows = block.logits.chunks_exact(width);
    if loss == Loss::Regression {
        let rows = rows
            .zip(block.targets.chunks_exact(width))
            .zip(block.losses);
        for ((values, targets), loss) in rows {
            *loss = squared_error(values, targets);
        }
        return;
    }
    for ((logits, label), loss) in rows.zip(block.labels).zip(block.losses) {
        *loss = cross_entropy(logits, *label);
    }
}

/// The mean of the squared differences of a row.
#[inline(always)]
fn squared_error(values: &[f32], targets: &[f32]) -> f32 {
    let squares = values.iter().zip(targets).map(|(y, t)| (y - t) * (y - t));
    squares.sum::<f32>() / values.len() as f32
}

/// Turns the values of a row into the gradient of its mean squared error times `weight`, in place,
/// and gives the error itself.
#[inline(always)]
fn squared_error_gradient(values: &mut [f32], targets: &[f32], weight: f32) -> f32 {
    let loss = squared_error(values, targets);
    let factor = 2.0 * weight / values.len() as f32;
    for (y, t) in values.iter_mut().zip(targets) {
        *y = factor * (*y - t);
    }
    loss
}

/// Turns the logits of a row into probabilities, in place, and returns `ln Σ exp(logits)`.
#[inline(always)]
pub(super) fn softmax(logits: &mut [f32]) -> f32 {
    let largest = lanes::largest(logits);
    softmax_below(logits, largest)
}

#[inline(always)]
fn softmax_below(logits: &mut [f32], largest: f32) -> f32 {
    for logit in logits.iter_mut() {
        *logit = exp(*logit - largest);
    }
    // A loop of its own: sums in order keep the other from taking several at once.
    let sum = logits.iter().fold(0.0, |sum, p| sum + p);
    let scale = 1.0 / sum;
    logits.iter_mut().for_each(|p| *p *= scale);
    largest + sum.ln()
}

/// Turns the logits of a row into the gradient of its cross-entropy times `weight`, in place.
/// Returns the cross-entropy itself, unweighted, and whether no logit is larger than the label's.
///
/// The gradient is `weight · (softmax(logits) − onehot(label))`.
#[inline(always)]
pub(super) fn cross_entropy_gradient(logits: &mut [f32], label: u32, weight: f32) -> (f32, bool) {
    let own = logits[label as usize];
    let largest = lanes::largest(logits);
    let loss = softmax_below(logits, largest) - own;
    logits[label as usize] -= 1.0;
    logits.iter_mut().for_each(|g| *g *= weight);
    (loss, own >= largest)
}

/// Cross-entropy of a row of logits.
#[inline(always)]
pub(super) fn cross_entropy(logits: &[f32], label: u32) -> f32 {
    let largest = lanes::largest(logits);
    let sum: f32 = logits.iter().map(|logit| exp(logit - largest)).sum();
    largest + sum.ln() - logits[label as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_logits_give_finite_losses() {
        let mut logits = [1e30, 0.0, -1e30];
        assert!((cross_entropy(&logits, 0)).abs() < 1e-6);
        softmax(&mut logits);
        assert!((logits[0] - 1.0).abs() < 1e-6 && logits[1] < 1e-30 && logits[2] < 1e-30);
    }

    #[test]
    fn equal_logits_lose_the_logarithm_of_their_number() {
        let (loss, _) = cross_entropy_gradient(&mut [5.0; 10], 3, 1.0);
        assert!((loss - 10.0_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_follows_central_differences() {
        let logits = [0.3_f32, -1.2, 2.0, 0.0];
        let mut gradient = logits;
        let (loss, _) = cross_entropy_gradient(&mut gradient, 1, 1.0);
        assert!((loss - cross_entropy(&logits, 1)).abs() < 1e-6);
        for i in 0..logits.len() {
            let at = |offset: f32| {
                let mut moved = logits;
                moved[i] += offset;
                f64::from(cross_entropy(&moved, 1))
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((difference - f64::from(gradient[i])).abs() < 1e-4);
        }
    }

    #[test]
    fn nan_logits_give_a_nan_loss() {
        assert!(cross_entropy(&[f32::NAN, 0.0], 1).is_nan());
        assert!(
            cross_entropy_gradient(&mut [f32::NAN, 0.0], 1, 1.0)
                .0
                .is_nan()
        );
    }

    #[test]
    fn a_row_is_right_when_no_logit_is_larger_than_its_labels() {
        let right = |logits: [f32; 3]| {
            [0, 1, 2].map(|label| cross_entropy_gradient(&mut logits.clone(), label, 1.0).1)
        };
        assert_eq!(right([1.0, 3.0, 2.0]), [false, true, false]);
        assert_eq!(right([-1.0, -3.0, -2.0]), [true, false, false]);
        assert_eq!(right([2.0, 3.0, 3.0]), [false, true, true]);
    }
}
