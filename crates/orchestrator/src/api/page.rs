//! Long lists, a page at a time.

use std::str::FromStr;

use tonic::Status;

use super::status::invalid_field;

const DEFAULT: u32 = 100;
const MAX: u32 = 1000;

/// Rows on a page: as asked for, within what is served at once.
pub(super) fn size(asked: u32) -> u32 {
    if asked == 0 { DEFAULT } else { asked.min(MAX) }
}

/// Where a page begins, if it is not the first.
pub(super) fn start<T: FromStr>(token: &str) -> Result<Option<T>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let start = token.parse().map_err(|_unknown| {
        invalid_field("page_token", "is not one that a list of this kind gave out")
    })?;
    Ok(Some(start))
}

/// The token of the page after a full one.
pub(super) fn next<T>(rows: &[T], size: u32, token: impl Fn(&T) -> String) -> String {
    let full = rows.len() >= size as usize;
    rows.last().filter(|_| full).map(token).unwrap_or_default()
}
