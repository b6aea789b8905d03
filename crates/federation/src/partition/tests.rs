use proptest::prelude::*;

use super::*;

fn spec(scheme: Scheme, clients: u32, seed: u64) -> PartitionSpec {
    PartitionSpec {
        scheme,
        clients: NonZeroU32::new(clients).unwrap(),
        seed,
    }
}

fn dirichlet(alpha: f64) -> Scheme {
    Scheme::Dirichlet {
        alpha: Concentration::new(alpha).unwrap(),
    }
}

fn quantity_skew(alpha: f64) -> Scheme {
    Scheme::QuantitySkew {
        alpha: Concentration::new(alpha).unwrap(),
    }
}

fn labels_per_client(labels: u32) -> Scheme {
    Scheme::LabelsPerClient {
        labels: NonZeroU32::new(labels).unwrap(),
    }
}

/// `rows` labels, going round the classes.
fn balanced(rows: u32, classes: u32) -> Vec<u32> {
    (0..rows).map(|row| row % classes).collect()
}

fn any_scheme() -> impl Strategy<Value = Scheme> {
    prop_oneof![
        Just(Scheme::Iid),
        (-12.0..12.0_f64).prop_map(|power| dirichlet(10_f64.powf(power))),
        (-12.0..12.0_f64).prop_map(|power| quantity_skew(10_f64.powf(power))),
        (1..12_u32).prop_map(labels_per_client),
    ]
}

const CLASSES: u32 = 8;

/// Labels, and a number of clients that they suffice for.
fn any_rows() -> impl Strategy<Value = (Vec<u32>, u32)> {
    prop::collection::vec(0..CLASSES, 8..300)
        .prop_flat_map(|labels| (Just(labels), CLASSES..=8 * CLASSES))
        .prop_filter("fewer rows than clients", |(labels, clients)| {
            labels.len() >= *clients as usize
        })
}

proptest! {
    #[test]
    fn every_row_has_one_client_and_every_client_a_row(
        (labels, clients) in any_rows(), scheme in any_scheme(), seed: u64,
    ) {
        let spec = spec(scheme, clients, seed);
        let shards = assign(&labels, CLASSES, &spec).unwrap();
        prop_assert_eq!(shards.len(), clients as usize);
        prop_assert!(shards.iter().all(|shard| !shard.is_empty() && shard.is_sorted()));
        let mut rows: Vec<u32> = shards.concat();
        rows.sort_unstable();
        prop_assert!(rows.into_iter().eq(0..u32::try_from(labels.len()).unwrap()));
    }

    #[test]
    fn the_same_seed_deals_the_same_rows(
        (labels, clients) in any_rows(), scheme in any_scheme(), seed: u64,
    ) {
        let spec = spec(scheme, clients, seed);
        prop_assert_eq!(assign(&labels, CLASSES, &spec), assign(&labels, CLASSES, &spec));
    }

    #[test]
    fn an_iid_deal_is_even_to_within_one_row((labels, clients) in any_rows(), seed: u64) {
        let shards = assign(&labels, CLASSES, &spec(Scheme::Iid, clients, seed)).unwrap();
        let sizes = || shards.iter().map(Vec::len);
        prop_assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
    }

    #[test]
    fn no_client_holds_more_labels_than_it_may(
        (labels, clients) in any_rows(), most in 1..12_u32, seed: u64,
    ) {
        let shards = assign(&labels, CLASSES, &spec(labels_per_client(most), clients, seed));
        for counts in histogram(&shards.unwrap(), &labels, CLASSES) {
            prop_assert!(counts.iter().filter(|count| **count > 0).count() <= most as usize);
        }
    }
}

#[test]
fn with_rows_enough_each_client_holds_just_its_labels_and_equally_often() {
    let labels = balanced(3000, 10);
    let shards = assign(&labels, 10, &spec(labels_per_client(3), 7, 7)).unwrap();
    let counts = histogram(&shards, &labels, 10);
    let held = |counts: &Vec<u64>| counts.iter().filter(|count| **count > 0).count();
    assert!(counts.iter().all(|counts| held(counts) == 3));
    for label in 0..10 {
        let holders = counts.iter().filter(|counts| counts[label] > 0).count();
        assert!(
            (2..=3).contains(&holders),
            "label {label}: {holders} holders"
        );
    }
}

/// The mean over clients of the share that a client's most frequent label has.
fn mean_top_share(scheme: Scheme) -> f64 {
    let labels = balanced(10_000, 10);
    let shards = assign(&labels, 10, &spec(scheme, 20, 7)).unwrap();
    let counts = histogram(&shards, &labels, 10);
    let top_share = |counts: &Vec<u64>| {
        let total: u64 = counts.iter().sum();
        *counts.iter().max().unwrap() as f64 / total as f64
    };
    counts.iter().map(top_share).sum::<f64>() / 20.0
}

#[test]
fn a_small_concentration_skews_labels_and_a_large_one_does_not() {
    assert!(mean_top_share(dirichlet(1e6)) < 0.11);
    assert!(mean_top_share(dirichlet(0.5)) > 0.25);
    assert!(mean_top_share(dirichlet(0.01)) > 0.8);
}

#[test]
fn quantity_skew_changes_sizes_but_not_labels() {
    let labels = balanced(10_000, 2);
    let shards = assign(&labels, 2, &spec(quantity_skew(0.5), 8, 7)).unwrap();
    let counts = histogram(&shards, &labels, 2);
    let sizes: Vec<u64> = counts.iter().map(|counts| counts.iter().sum()).collect();
    assert!(sizes.iter().max().unwrap() > &(10 * sizes.iter().min().unwrap()));
    for (counts, size) in counts.iter().zip(&sizes).filter(|(_, size)| **size > 1000) {
        let share = counts[0] as f64 / *size as f64;
        assert!((share - 0.5).abs() < 0.1, "{share}");
    }
}

#[test]
fn the_partitions_of_past_runs_can_be_dealt_again() {
    // A release that changes these rows cannot resume or reproduce a run of an older one.
    let labels = balanced(12, 3);
    let deal = |scheme| assign(&labels, 3, &spec(scheme, 3, 7)).unwrap();
    assert_eq!(
        deal(Scheme::Iid),
        [vec![0, 1, 3, 7], vec![2, 9, 10, 11], vec![4, 5, 6, 8]]
    );
    assert_eq!(
        deal(dirichlet(0.5)),
        [vec![0, 2, 3, 9], vec![1, 6, 7, 10, 11], vec![4, 5, 8]]
    );
    assert_eq!(
        deal(labels_per_client(2)),
        [vec![0, 3, 5, 8], vec![1, 6, 7, 9], vec![2, 4, 10, 11]]
    );
    assert_eq!(
        deal(quantity_skew(0.5)),
        [vec![0, 1, 2, 3, 4, 5, 7, 9, 10, 11], vec![8], vec![6]]
    );
}

fn refusal(labels: &[u32], scheme: Scheme, clients: u32) -> String {
    assign(labels, 3, &spec(scheme, clients, 7))
        .unwrap_err()
        .to_string()
}

#[test]
fn what_cannot_be_dealt_is_refused_with_the_numbers() {
    assert_eq!(
        refusal(&[], Scheme::Iid, 1),
        "the data set has no training rows to deal to clients"
    );
    assert_eq!(
        refusal(&[0, 1], Scheme::Iid, 3),
        "3 clients cannot each hold a row: the data set has 2 training rows"
    );
    assert_eq!(
        refusal(&[0, 3], Scheme::Iid, 1),
        "row 1 has label 3, but there are 3 classes, counted from 0"
    );
    assert_eq!(
        refusal(&[0, 1, 2], labels_per_client(1), 2),
        "labels per client is 1; 2 clients cannot then hold the 3 labels of the data set"
    );
}

#[test]
fn rows_without_labels_are_dealt_as_those_of_one_label() {
    for scheme in [Scheme::Iid, quantity_skew(0.5)] {
        let spec = spec(scheme, 5, 7);
        let dealt = assign_unlabelled(40, &spec).unwrap();
        assert_eq!(dealt, assign(&[0; 40], 1, &spec).unwrap());
    }
    for scheme in [dirichlet(0.5), labels_per_client(1)] {
        let refused = assign_unlabelled(40, &spec(scheme, 5, 7));
        assert_eq!(refused, Err(PartitionError::NoLabels));
    }
}
