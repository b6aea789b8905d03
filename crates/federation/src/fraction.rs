//! Fractions of a count, where a product such as `0.1 × 30 = 3.0000000000000004` must not
//! decide.

/// How far a product may miss a whole number and still mean it. Counts stay below 2³², so the
/// products miss by less than 1e-6; a wider slack would swallow fractions that people write.
const SLACK: f64 = 1e-6;

/// `fraction` of `whole`, to the nearest count, halves upwards; never more than `whole`.
#[must_use]
pub fn nearest(fraction: f64, whole: usize) -> usize {
    count(fraction * whole as f64 + 0.5, whole)
}

/// The least count that is at least `fraction` of `whole`; never more than `whole`.
#[must_use]
pub fn at_least(fraction: f64, whole: usize) -> usize {
    count((fraction * whole as f64 - SLACK).ceil(), whole)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounds down; the cast saturates, which takes NaN and negative numbers to zero"
)]
fn count(value: f64, whole: usize) -> usize {
    (value as usize).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_just_off_a_whole_number_means_it() {
        assert_eq!(nearest(0.29, 100), 29);
        assert_eq!(at_least(0.1, 30), 3);
        assert_eq!(at_least(0.29, 100), 29);
    }

    #[test]
    fn halves_go_up_and_any_excess_asks_for_one_more() {
        assert_eq!(nearest(0.5, 5), 3);
        assert_eq!(nearest(0.49, 5), 2);
        assert_eq!(at_least(0.41, 5), 3);
    }

    #[test]
    fn the_whole_is_the_most_and_nonsense_is_nothing() {
        assert_eq!(nearest(1.7, 5), 5);
        assert_eq!(nearest(f64::NAN, 5), 0);
        assert_eq!(at_least(-1.0, 5), 0);
    }
}
