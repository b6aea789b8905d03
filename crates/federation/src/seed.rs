//! Named, seeded streams of chance.
//!
//! Every random decision of a run draws from a stream that is named after its purpose and the
//! things it concerns. A stream never depends on what others drew before it, so neither the order
//! of work nor the number of workers can change what it yields.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A seed for the purpose `name`, for the things numbered `parts`, under the run's `seed`.
///
/// # Source
///
/// The key derivation mode of BLAKE3, with `name` in the context string.
#[must_use]
pub fn derive(seed: u64, name: &str, parts: &[u64]) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("pangea seed v1 {name}"));
    hasher.update(&seed.to_le_bytes());
    for part in parts {
        hasher.update(&part.to_le_bytes());
    }
    let mut first = [0_u8; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// What a stream is drawn from.
pub type Stream = ChaCha8Rng;

/// The generator of the stream `name` for the things numbered `parts`.
#[must_use]
pub fn stream(seed: u64, name: &str, parts: &[u64]) -> Stream {
    ChaCha8Rng::seed_from_u64(derive(seed, name, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parts_and_seeds_all_separate_streams() {
        let base = derive(7, "shuffle", &[1, 2]);
        assert_eq!(base, derive(7, "shuffle", &[1, 2]));
        assert_ne!(base, derive(8, "shuffle", &[1, 2]));
        assert_ne!(base, derive(7, "cohort", &[1, 2]));
        assert_ne!(base, derive(7, "shuffle", &[2, 1]));
    }
}
