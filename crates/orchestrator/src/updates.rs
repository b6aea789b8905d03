//! Updates as they lie in the store: whether they are what was announced, and still what was accepted.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use artifacts::{ArtifactStore, BlobError, BlobRef, Key};
use federation::Digest;
use federation::acceptance::Refusal;
use proto::body;

use crate::problem::Problem;
use crate::store::Verdict;

/// Bytes of an update that are looked at together; they stay in a core's cache.
const BUFFER: usize = 256 * 1024;

/// Looks at an object that was uploaded as an update: it must be the bytes that were announced, and finite numbers.
///
/// # Errors
///
/// [`Problem::Stalled`] when the disk does not let it be read now.
pub async fn inspect(blobs: &ArtifactStore, update: &BlobRef) -> Result<Verdict, Problem> {
    let looked = blobs.look(&update.key, is_file_finite).await?;
    Ok(match (is_announced(update, looked.as_ref()), looked) {
        (Ok(()), Some((.., false))) => Err(not_finite()),
        (verdict, _) => verdict,
    })
}

/// The first of these updates that is not any more what was accepted, by its number, and why.
///
/// # Errors
///
/// [`BlobError`] when the disk does not let them be read now.
pub async fn first_damaged(
    blobs: &ArtifactStore,
    updates: &[BlobRef],
) -> Result<Option<(usize, Refusal)>, BlobError> {
    let bundled = digests_in_bundles(blobs, updates).await?;
    for (number, update) in updates.iter().enumerate() {
        let verdict = match bundled.get(&number) {
            Some(digest) => is_there(update, *digest),
            None => is_announced(update, blobs.look(&update.key, |_| Ok(())).await?.as_ref()),
        };
        if let Err(refusal) = verdict {
            return Ok(Some((number, refusal)));
        }
    }
    Ok(None)
}

/// The digests of what bundles have in the place of updates, by their number.
async fn digests_in_bundles(
    blobs: &ArtifactStore,
    updates: &[BlobRef],
) -> Result<HashMap<usize, Option<Digest>>, BlobError> {
    let mut bundles: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    for (number, update) in updates.iter().enumerate() {
        if update.key.is_bundle() {
            bundles.entry(&update.key).or_default().push(number);
        }
    }
    let mut found = HashMap::new();
    for (key, numbers) in bundles {
        let part = |number: &usize| (updates[*number].offset, updates[*number].len);
        let parts = numbers.iter().map(part).collect();
        let digests = blobs.look_within(key, parts).await?;
        found.extend(numbers.into_iter().zip(digests));
    }
    Ok(found)
}

/// Whether a bundle has the bytes of an update in their place.
fn is_there(update: &BlobRef, found: Option<Digest>) -> Verdict {
    let BlobRef {
        key,
        offset,
        len,
        digest,
    } = update;
    let problem = match found {
        None => format!("object {key} does not have {len} bytes from byte {offset} on"),
        Some(actual) if actual != *digest => format!(
            "object {key} has digest {actual} over {len} bytes from byte {offset} on, where {digest} was announced"
        ),
        Some(_) => return Ok(()),
    };
    Err(Refusal::Damaged { problem })
}

fn is_announced<T>(update: &BlobRef, looked: Option<&(u64, Digest, T)>) -> Verdict {
    let BlobRef {
        key, len, digest, ..
    } = update;
    let problem = match looked {
        None => BlobError::NotFound { key: key.clone() }.to_string(),
        Some((actual, ..)) if actual != len => {
            format!("object {key} has {actual} bytes where {len} were announced")
        }
        Some((_, actual, _)) if actual != digest => {
            format!("object {key} has digest {actual} where {digest} was announced")
        }
        Some(_) => return Ok(()),
    };
    Err(Refusal::Damaged { problem })
}

/// Why an update of other numbers does not count.
#[must_use]
pub fn not_finite() -> Refusal {
    Refusal::NotFinite {
        what: "the update".to_owned(),
    }
}

/// Whether a file, whose length is that of a model, holds finite numbers alone.
fn is_file_finite(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    let mut rest = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut finite = true;
    while rest > 0 && finite {
        let part = &mut buffer[..rest.min(BUFFER)];
        file.read_exact(part)?;
        finite = are_finite(part);
        rest -= part.len();
    }
    Ok(finite)
}

/// Whether these bytes are finite numbers alone.
#[must_use]
pub fn are_finite(bytes: &[u8]) -> bool {
    // Without an exit from the loop, so that it is done by vectors.
    body::as_numbers::<f32>(bytes)
        .iter()
        .fold(true, |all, number| all & number.is_finite())
}
