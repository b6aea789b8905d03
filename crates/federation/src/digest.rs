//! Names of contents: an algorithm and a hash.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

const ALGORITHM: &str = "blake3";

/// The BLAKE3 hash of some bytes, written `blake3:<64 hex digits>`.
///
/// A hash for which nobody can make two bodies of one digest, so that none is passed off as another. Of
/// those, `cargo bench -p federation` measures BLAKE3 and SHA-256 beside reading; `docs/benchmarks.md` has
/// the figures. The algorithm travels with the value, so that another one can be told apart from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash alone.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits without the algorithm, as used in object keys.
    #[must_use]
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// Computes a [`Digest`] over bytes that arrive in pieces.
#[derive(Debug, Default, Clone)]
pub struct Digester(blake3::Hasher);

impl Digester {
    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that came in.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("digest {text:?} is not of the form blake3:<64 hex digits>")]
pub struct InvalidDigest {
    /// What was given.
    pub text: String,
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let hash = text
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(':'))
            .and_then(|hex| blake3::Hash::from_hex(hex).ok());
        match hash {
            Some(hash) => Ok(Self(*hash.as_bytes())),
            None => Err(InvalidDigest {
                text: text.chars().take(100).collect(),
            }),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_wrote() {
        let digest = Digest::of(b"pangea");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn the_empty_digest_is_the_published_one() {
        // Source: BLAKE3 test vectors, input length 0.
        let published = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), published);
    }

    #[test]
    fn pieces_give_the_digest_of_the_whole() {
        let mut digester = Digester::default();
        digester.update(b"pan");
        digester.update(b"gea");
        assert_eq!(digester.finish(), Digest::of(b"pangea"));
    }

    #[test]
    fn another_algorithm_is_refused() {
        let text = format!("sha256:{}", "0".repeat(64));
        let error = text.parse::<Digest>().unwrap_err();
        assert!(error.to_string().contains("blake3:<64 hex digits>"));
    }
}
