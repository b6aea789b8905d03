//! Classes of kernels: what decides the bits of a training on one processor and another.
//!
//! Products of matrices are summed as a processor's vectors allow, and differ in their last bits
//! between classes. Within one class the same job and seed give the same bytes. A processor can run
//! the kernels of its own class and of those below it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A class of kernels. The names of those for x86-64 are the levels of its psABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KernelClass {
    /// AVX-512.
    #[serde(rename = "x86-64-v4")]
    X86_64V4,
    /// AVX2 and fused multiply-add.
    #[serde(rename = "x86-64-v3")]
    X86_64V3,
    /// NEON.
    #[serde(rename = "aarch64")]
    Aarch64,
    /// Number by number, each product rounded before it is added: every processor can, slowly.
    #[serde(rename = "portable")]
    Portable,
}

/// A name that is none of a class.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name:?} is no kernel class; there are {}", KernelClass::names())]
pub struct UnknownKernelClass {
    name: String,
}

impl KernelClass {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::X86_64V4,
        Self::X86_64V3,
        Self::Aarch64,
        Self::Portable,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64V4 => "x86-64-v4",
            Self::X86_64V3 => "x86-64-v3",
            Self::Aarch64 => "aarch64",
            Self::Portable => "portable",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for KernelClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KernelClass {
    type Err = UnknownKernelClass;

    fn from_str(name: &str) -> Result<Self, UnknownKernelClass> {
        let found = Self::ALL.into_iter().find(|class| class.as_str() == name);
        found.ok_or_else(|| UnknownKernelClass {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_one_name_in_files_and_in_messages() {
        for class in KernelClass::ALL {
            let json = serde_json::to_string(&class).unwrap();
            assert_eq!(json, format!("{:?}", class.as_str()));
            assert_eq!(class.as_str().parse(), Ok(class));
        }
    }

    #[test]
    fn an_unknown_class_is_refused_with_those_there_are() {
        let refused = "avx2".parse::<KernelClass>().unwrap_err();
        let told =
            r#""avx2" is no kernel class; there are x86-64-v4, x86-64-v3, aarch64, portable"#;
        assert_eq!(refused.to_string(), told);
    }
}
