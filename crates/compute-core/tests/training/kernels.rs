//! What a class of kernels promises: its own bits, wherever it can be run.

use compute_core::engine::Kernels;
use federation::KernelClass;

use super::*;

/// Products of more terms than are summed in one part, and of few rows and columns.
fn deep() -> (Architecture, Shard) {
    (mlp(1300, &[70, 30], Activation::Relu), Shard::new(90, 1300))
}

#[test]
fn every_class_gives_the_same_bits_for_any_number_of_threads() {
    let (architecture, shard) = deep();
    let recipe = training(LocalDuration::Epochs(2), 40, SGD);
    for kernels in Kernels::available() {
        let on = |count| kernels.run(|| train(&architecture, &recipe, &shard, 9, count));
        let alone = on(1);
        for count in [2, 4] {
            assert_eq!(on(count), alone, "{kernels:?}");
        }
    }
}

#[test]
fn what_is_in_use_is_the_fastest_and_others_differ_in_the_last_bits_alone() {
    let (architecture, shard) = deep();
    let recipe = training(LocalDuration::Steps(3), 40, SGD);
    let plain = train(&architecture, &recipe, &shard, 9, 2);
    let native = Kernels::native();
    assert_eq!(Kernels::available().next(), Some(native));
    assert_eq!(
        native.run(|| train(&architecture, &recipe, &shard, 9, 2)),
        plain
    );
    for other in Kernels::available().skip(1) {
        let (bits, _) = other.run(|| train(&architecture, &recipe, &shard, 9, 2));
        assert_ne!(bits, plain.0, "{other:?} computes as {native:?} does");
        for (own, native) in bits.iter().zip(&plain.0) {
            let (own, native) = (f32::from_bits(*own), f32::from_bits(*native));
            assert!((own - native).abs() < 1e-4, "{own} and {native}");
        }
    }
}

#[test]
fn kernels_of_another_architecture_are_not_here() {
    let other = match cfg!(target_arch = "aarch64") {
        true => KernelClass::X86_64V3,
        false => KernelClass::Aarch64,
    };
    assert_eq!(Kernels::of(other), None);
    assert!(Kernels::available().all(|kernels| kernels.class() != other));
}
