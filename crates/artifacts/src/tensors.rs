//! Canonical safetensors: the header that makes raw numbers a file others can read.
//!
//! A file is the header's length (`u64`, little-endian), the header (JSON, padded with spaces to a
//! multiple of 8) and the tensors' bytes one after another, row-major and little-endian. Canonical
//! means: the same tensors and metadata give the same bytes, as digests need. The order is that of
//! the `safetensors` crate: wider types first, then by name.
//!
//! Source: <https://huggingface.co/docs/safetensors/index#format>.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// Largest header read or written: 4 MiB, some ten times what two thousand tensors need. It bounds
/// what a hostile file can make a reader parse.
pub const HEADER_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of the length in front of the header, and what headers are padded to a multiple of.
const WORD: u64 = 8;

/// The header's name for what is no tensor.
const METADATA: &str = "__metadata__";

/// The type of a tensor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dtype {
    /// 64-bit integers.
    I64,
    /// 32-bit floating point.
    F32,
    /// Bytes.
    U8,
}

impl Dtype {
    /// Bytes of one number.
    #[must_use]
    pub fn width(self) -> u64 {
        match self {
            Self::I64 => 8,
            Self::F32 => 4,
            Self::U8 => 1,
        }
    }
}

/// What a file says about one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMeta {
    /// Unique in its file.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Row-major; empty for a single number.
    pub shape: Vec<usize>,
}

impl TensorMeta {
    /// Bytes of its data; `None` when they cannot be counted.
    #[must_use]
    pub fn data_len(&self) -> Option<u64> {
        self.shape
            .iter()
            .try_fold(self.dtype.width(), |product, &extent| {
                product.checked_mul(u64::try_from(extent).ok()?)
            })
    }

    /// Files are sorted by this.
    fn rank(&self) -> (Reverse<u64>, &str) {
        (Reverse(self.dtype.width()), &self.name)
    }
}

/// Why tensors make no file, or bytes no header.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// Data is laid out in the order of the header, so the order is the caller's to keep.
    #[error("tensor {name:?} does not come after {before:?} in canonical order")]
    OutOfOrder {
        /// Which tensor.
        name: String,
        /// The one in front of it.
        before: String,
    },
    /// `__metadata__` is no name for a tensor.
    #[error("a tensor cannot be named {METADATA:?}")]
    ReservedName,
    /// A shape, or all of them together, beyond what can be counted.
    #[error("tensor {name:?} is larger than can be counted")]
    TooLarge {
        /// The first tensor that is too much.
        name: String,
    },
    /// The header is larger than [`HEADER_MAX`].
    #[error("the header has {len} bytes; at most {HEADER_MAX} are accepted")]
    HeaderTooLarge {
        /// Its length, or what claims to be that.
        len: u64,
    },
    /// There is more to the header than was given; reading again with `needed` bytes helps.
    #[error("the first {needed} bytes are needed to read the header, only {given} were given")]
    Incomplete {
        /// Bytes up to the end of the header.
        needed: u64,
        /// Bytes there were.
        given: u64,
    },
    /// The header is not the JSON it should be.
    #[error("the header cannot be read: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// Tensors must follow each other, without gap or overlap, and be as long as their shape.
    #[error(
        "tensor {name:?} lies at {start}..{end} where {expected_start}..{expected_end} is right"
    )]
    Misplaced {
        /// Which tensor.
        name: String,
        /// Where it says it begins.
        start: u64,
        /// Where it says it ends.
        end: u64,
        /// Where the tensor in front of it ends.
        expected_start: u64,
        /// Where its shape says it ends.
        expected_end: u64,
    },
}

/// The bytes in front of the data: `header ++ data` is a canonical file.
///
/// # Errors
///
/// [`TensorError::OutOfOrder`] when the tensors are not sorted or share a name, and what else makes
/// them no file.
pub fn header(
    tensors: &[TensorMeta],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, TensorError> {
    for pair in tensors.windows(2) {
        if pair[0].rank() >= pair[1].rank() {
            return Err(TensorError::OutOfOrder {
                name: pair[1].name.clone(),
                before: pair[0].name.clone(),
            });
        }
    }
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(TensorError::OutOfOrder {
            name: pair[1].to_owned(),
            before: pair[0].to_owned(),
        });
    }
    if names.contains(&METADATA) {
        return Err(TensorError::ReservedName);
    }

    let header = Header {
        metadata,
        tensors: place(tensors)?,
    };
    let mut json = serde_json::to_vec(&header).map_err(|error| TensorError::Malformed {
        reason: error.to_string(),
    })?;
    while !(json.len() as u64).is_multiple_of(WORD) {
        json.push(b' ');
    }
    let len = json.len() as u64;
    if len > HEADER_MAX {
        return Err(TensorError::HeaderTooLarge { len });
    }
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.append(&mut json);
    Ok(bytes)
}

/// Bytes of the data of all tensors together.
///
/// # Errors
///
/// [`TensorError::TooLarge`] when they cannot be counted.
pub fn data_len(tensors: &[TensorMeta]) -> Result<u64, TensorError> {
    let placed = place(tensors)?;
    Ok(placed.last().map_or(0, |(_, entry)| entry.data_offsets.1))
}

/// Reads the tensors of a file, in the order of their data, and where that begins.
///
/// `prefix` is the beginning of the file; it may reach into the data. Other writers' order of names
/// is accepted. Nothing is allocated for what the header only claims.
///
/// # Errors
///
/// [`TensorError::Incomplete`] says how much of the file is needed; the others, that it is no
/// safetensors file of the types known here.
pub fn read_header(prefix: &[u8]) -> Result<(Vec<TensorMeta>, u64), TensorError> {
    let given = prefix.len() as u64;
    let Some((word, rest)) = prefix.split_first_chunk() else {
        return Err(TensorError::Incomplete {
            needed: WORD,
            given,
        });
    };
    let len = u64::from_le_bytes(*word);
    if len > HEADER_MAX {
        return Err(TensorError::HeaderTooLarge { len });
    }
    let data_offset = WORD + len;
    let json = usize::try_from(len)
        .ok()
        .and_then(|len| rest.get(..len))
        .ok_or(TensorError::Incomplete {
            needed: data_offset,
            given,
        })?;
    let header: RawHeader =
        serde_json::from_slice(json).map_err(|error| TensorError::Malformed {
            reason: error.to_string(),
        })?;
    Ok((in_data_order(header.tensors)?, data_offset))
}

/// Checks that the tensors cover the data from its beginning without gap or overlap.
fn in_data_order(entries: BTreeMap<String, Entry>) -> Result<Vec<TensorMeta>, TensorError> {
    let mut entries: Vec<(String, Entry)> = entries.into_iter().collect();
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut position = 0_u64;
    for (name, entry) in entries {
        let tensor = TensorMeta {
            name,
            dtype: entry.dtype,
            shape: entry.shape,
        };
        let (start, end) = entry.data_offsets;
        let expected_end = end_of(&tensor, position)?;
        if (start, end) != (position, expected_end) {
            return Err(TensorError::Misplaced {
                name: tensor.name,
                start,
                end,
                expected_start: position,
                expected_end,
            });
        }
        position = end;
        tensors.push(tensor);
    }
    Ok(tensors)
}

fn place(tensors: &[TensorMeta]) -> Result<Vec<(&str, Entry)>, TensorError> {
    let mut position = 0;
    let mut placed = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let end = end_of(tensor, position)?;
        let entry = Entry {
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            data_offsets: (position, end),
        };
        placed.push((tensor.name.as_str(), entry));
        position = end;
    }
    Ok(placed)
}

fn end_of(tensor: &TensorMeta, start: u64) -> Result<u64, TensorError> {
    tensor
        .data_len()
        .and_then(|len| len.checked_add(start))
        .ok_or_else(|| TensorError::TooLarge {
            name: tensor.name.clone(),
        })
}

/// One tensor, as the header writes it; the order of the fields is part of the format.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    tensors: Vec<(&'a str, Entry)>,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, self.metadata)?;
        }
        for (name, entry) in &self.tensors {
            map.serialize_entry(name, entry)?;
        }
        map.end()
    }
}

#[derive(Deserialize)]
struct RawHeader {
    #[serde(rename = "__metadata__", default)]
    _metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Entry>,
}

#[cfg(test)]
mod tests;
