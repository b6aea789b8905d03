//! Examples and properties of the fold.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::{SliceSource, TILE};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn from(client: u32, weight: f64, delta: &[f32]) -> Contribution<SliceSource<'_>> {
    Contribution {
        client: ClientId(client),
        weight,
        source: SliceSource(delta),
    }
}

/// The new model; checks on the way that it comes in order and without a gap.
fn folded(
    base: &[f32],
    contributions: &[Contribution<SliceSource<'_>>],
    threads: NonZeroUsize,
) -> Result<(Vec<f32>, FoldReport), FoldError> {
    let mut params = Vec::new();
    let report = fold(
        &SliceSource(base),
        contributions,
        base.len(),
        threads,
        |offset, tile| {
            assert_eq!(offset, params.len());
            assert!(tile.len() <= TILE);
            params.extend_from_slice(tile);
            Ok(())
        },
    )?;
    assert_eq!(params.len(), base.len());
    Ok((params, report))
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Numbers of many magnitudes, whose sums round.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_index| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let [high, low, scale, ..] = state.to_be_bytes();
        let number = f32::from(i16::from_be_bytes([high, low])) / 331.0;
        number * 2.0_f32.powi(i32::from(scale % 24) - 16)
    };
    (0..len).map(next).collect()
}

#[test]
fn two_updates_are_averaged_by_weight() {
    let (params, report) = folded(
        &[1.0, 1.0],
        &[from(0, 1.0, &[4.0, 0.0]), from(1, 3.0, &[0.0, 8.0])],
        ONE,
    )
    .unwrap();
    assert_eq!(params, [2.0, 7.0]);
    assert_eq!(
        report,
        FoldReport {
            total_weight: 4.0,
            delta_norm: 37.0_f64.sqrt(),
        }
    );
}

#[test]
fn a_single_update_is_taken_as_it_is() {
    let delta = noise(1000, 3);
    for weight in [1.0, 0.1, 12_345.0, WEIGHT_MAX] {
        let (params, _) = folded(&[0.0; 1000], &[from(7, weight, &delta)], ONE).unwrap();
        assert_eq!(params, delta);
    }
}

#[test]
fn an_update_without_weight_changes_nothing() {
    let (params, _) = folded(&[1.0], &[from(0, 0.0, &[9.0]), from(1, 2.0, &[0.5])], ONE).unwrap();
    assert_eq!(params, [1.5]);
}

#[test]
fn every_parameter_is_folded_once_around_tile_borders() {
    for len in [0, 1, TILE - 1, TILE, TILE + 1, 3 * TILE, 3 * TILE + 5] {
        let base = noise(len, 5);
        let zero = vec![0.0; len];
        for count in [1, 2, 3, 8] {
            let (params, report) = folded(&base, &[from(0, 2.0, &zero)], threads(count)).unwrap();
            assert_eq!(params, base, "{len} parameters on {count} threads");
            assert!(report.delta_norm.abs() < f64::MIN_POSITIVE);
        }
    }
}

#[test]
fn neither_arrival_order_nor_threads_change_a_bit() {
    let len = 5 * TILE + 321;
    let base = noise(len, 0);
    let deltas: Vec<_> = (1..6).map(|seed| noise(len, seed)).collect();
    let arrived = |order: [usize; 5]| {
        order.map(|index| {
            let number = u32::try_from(index).unwrap();
            from(number * 3, 0.1 + f64::from(number), &deltas[index])
        })
    };
    let (expected, report) = folded(&base, &arrived([0, 1, 2, 3, 4]), ONE).unwrap();
    for order in [[4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 2, 3, 4, 0]] {
        for count in [1, 2, 3, 4, 16] {
            let (params, same) = folded(&base, &arrived(order), threads(count)).unwrap();
            assert_eq!(bits(&params), bits(&expected));
            assert_eq!(same.delta_norm.to_bits(), report.delta_norm.to_bits());
            assert_eq!(same.total_weight.to_bits(), report.total_weight.to_bits());
        }
    }
}

#[test]
fn the_first_number_that_is_none_names_its_client() {
    let len = 4 * TILE;
    let (base, clean) = (vec![0.0; len], vec![1.0; len]);
    let (mut early, mut late) = (clean.clone(), clean.clone());
    early[TILE + 2] = f32::INFINITY;
    late[2 * TILE] = f32::NAN;
    let contributions = [
        from(1, 0.0, &late),
        from(2, 1.0, &early),
        from(3, 1.0, &clean),
    ];
    for count in [1, 2, 4] {
        let error = folded(&base, &contributions, threads(count)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the update of client-0002 is not finite at index {}",
                TILE + 2
            )
        );
    }
}

#[test]
fn what_cannot_be_averaged_is_refused_by_name() {
    let error = |contributions: &[Contribution<SliceSource<'_>>]| {
        folded(&[0.0], contributions, ONE).unwrap_err()
    };
    assert!(matches!(error(&[]), FoldError::NoWeight));
    assert!(matches!(
        error(&[from(0, 0.0, &[1.0])]),
        FoldError::NoWeight
    ));
    assert!(matches!(
        error(&[
            from(4, 1.0, &[1.0]),
            from(2, 1.0, &[1.0]),
            from(4, 1.0, &[2.0])
        ]),
        FoldError::DuplicateClient {
            client: ClientId(4)
        }
    ));
    for weight in [-1.0, f64::NAN, f64::INFINITY, 2.0 * WEIGHT_MAX] {
        assert!(matches!(
            error(&[from(0, 1.0, &[1.0]), from(1, weight, &[1.0])]),
            FoldError::InvalidWeight {
                client: ClientId(1),
                ..
            }
        ));
    }
    assert!(matches!(
        error(&[from(3, 1.0, &[])]),
        FoldError::Read {
            client: ClientId(3),
            ..
        }
    ));
}

#[test]
fn a_model_that_grows_beyond_f32_is_refused() {
    let base = [0.0, f32::MAX];
    let error = folded(&base, &[from(0, 1.0, &base)], ONE).unwrap_err();
    assert!(matches!(error, FoldError::ResultNotFinite { index: 1 }));
}

#[test]
fn a_sink_that_fails_ends_the_fold() {
    let base = vec![0.0; 8 * TILE];
    let contributions = [from(0, 1.0, &base)];
    let mut taken = 0;
    let result = fold(
        &SliceSource(&base),
        &contributions,
        base.len(),
        threads(4),
        |_, _| {
            taken += 1;
            if taken == 3 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        },
    );
    assert!(matches!(result, Err(FoldError::Write { .. })));
    assert_eq!(taken, 3);
}

/// A cohort whose exact mean can be computed in integers: deltas are multiples of 2⁻¹⁰.
#[derive(Debug, Clone)]
struct Cohort {
    base: Vec<i32>,
    members: Vec<(u32, Vec<i32>)>,
    seed: u64,
}

/// One unit of a [`Cohort`]'s numbers.
const UNIT: f32 = 1.0 / 1024.0;

impl Cohort {
    fn base(&self) -> Vec<f32> {
        scaled(&self.base)
    }

    fn deltas(&self) -> Vec<Vec<f32>> {
        self.members
            .iter()
            .map(|(_, delta)| scaled(delta))
            .collect()
    }

    /// `(base Σw + Σ wΔ) / Σw` with an exact numerator, so it is rounded once.
    fn exact(&self, index: usize) -> f64 {
        let total: i64 = self
            .members
            .iter()
            .map(|(weight, _)| i64::from(*weight))
            .sum();
        let mut numerator = i64::from(self.base[index]) * total;
        for (weight, delta) in &self.members {
            numerator += i64::from(*weight) * i64::from(delta[index]);
        }
        assert!(
            numerator.abs() < 1 << 53,
            "the numerator must be exact in f64"
        );
        let whole = |number: i64| number.to_string().parse::<f64>().unwrap();
        whole(numerator) / whole(total) * f64::from(UNIT)
    }
}

fn scaled(units: &[i32]) -> Vec<f32> {
    units
        .iter()
        .map(|unit| f32::from(i16::try_from(*unit).unwrap()) * UNIT)
        .collect()
}

fn cohorts() -> impl Strategy<Value = Cohort> {
    (1_usize..40, 1_usize..9).prop_flat_map(|(len, clients)| {
        let numbers = || prop::collection::vec(-20_000..20_000_i32, len);
        let member = (1..100_000_u32, numbers());
        let members = prop::collection::vec(member, clients);
        (numbers(), members, any::<u64>()).prop_map(|(base, members, seed)| Cohort {
            base,
            members,
            seed,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(2017),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_order_gives_the_exact_mean_within_one_ulp(cohort in cohorts()) {
        let (base, deltas) = (cohort.base(), cohort.deltas());
        let mut contributions: Vec<_> = (0..)
            .zip(&deltas)
            .zip(&cohort.members)
            .map(|((client, delta), (weight, _))| from(client, f64::from(*weight), delta))
            .collect();
        let (params, _) = folded(&base, &contributions, ONE).unwrap();
        for (index, param) in params.iter().enumerate() {
            let exact = cohort.exact(index);
            // Where base and delta cancel, their size is what the rounding is relative to.
            let size = exact.abs().max(f64::from(base[index].abs()));
            let ulp = size * f64::from(f32::EPSILON);
            prop_assert!((f64::from(*param) - exact).abs() <= ulp, "{param} is not {exact}");
        }

        contributions.sort_by_key(|contribution| {
            u64::from(contribution.client.0 + 1).wrapping_mul(cohort.seed | 1)
        });
        let (shuffled, _) = folded(&base, &contributions, threads(3)).unwrap();
        prop_assert_eq!(bits(&params), bits(&shuffled));
    }
}
